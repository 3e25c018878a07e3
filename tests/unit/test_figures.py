"""Figures 2, 4 and 5 and those of other scores, drawn from given scores and masks."""

import itertools
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_hex
from PIL import Image

from headimpact.report import figures


def head_scores(matrix):
    layer, head = np.indices(np.shape(matrix)).reshape(2, -1)
    return pd.DataFrame({"layer": layer, "head": head, "value": np.ravel(matrix)})


# In the first, the layers have the means 0.2 and 0.5, the heads 0.3, 0.3 and 0.45.
SCORES = {
    "first": head_scores([[0.1, 0.2, 0.3], [0.5, 0.4, 0.6]]),
    "second": head_scores([[0.2, 0.2], [0.2, 0.2], [0.2, 0.8]]),
}


NULL_VALUES = {"random tokens": 0.25, "other objects": 0.5, "attended share": 0.75}
NULLS = {
    title: pd.concat(table.assign(score=name, value=v) for name, v in NULL_VALUES.items())
    for title, table in SCORES.items()
}


def grid(width, height, rows, columns):
    """Rectangles (rows * columns, 4) that divide an image, row by row."""
    row, column = np.indices((rows, columns)).reshape(2, -1)
    x, y = width / columns, height / rows
    return np.stack([column * x, row * y, (column + 1) * x, (row + 1) * y], 1)


def corners(ax):
    """The upper left corners of the tokens that are not highlighted, and of those that are."""
    collections = [drawn for drawn in ax.collections if isinstance(drawn, PatchCollection)]
    assert len(collections) == 2
    return [
        sorted(tuple(path.vertices.min(0).tolist()) for path in collection.get_paths())
        for collection in collections
    ]


def draw2(coverage, share=0.5, rectangles=None, tiles=((0, 4),)):
    image, mask = Image.new("RGB", (8, 4)), np.zeros((4, 8), bool)
    rectangles = grid(8, 4, 2, 2) if rectangles is None else rectangles
    coverage = np.asarray(coverage)
    return figures.figure2(image, mask, rectangles, coverage, share, "title", list(tiles))


def test_tokens_of_the_mask_are_highlighted():
    left, middle, right = draw2([0.0, 0.4, 0.5, 1.0]).axes
    # There are four tokens of 4 x 2 pixels; the lower two reach a share of 0.5.
    assert corners(right) == [[(0, 0), (4, 0)], [(0, 2), (4, 2)]]
    assert not left.collections and not middle.collections


def test_with_a_share_of_0_any_coverage_is_highlighted():
    assert corners(draw2([0.0, 0.01, 0.0, 1.0], share=0).axes[2])[1] == [(4, 0), (4, 2)]


def test_all_panels_show_the_same_part_of_the_image():
    # Pixels begin at whole numbers, as in the rectangles. Tokens of padding may lie outside.
    axes = draw2([0.0, 0.4, 0.5, 1.0], rectangles=grid(8, 4, 2, 2) * 1.5).axes
    views = {(*ax.get_xlim(), *ax.get_ylim()) for ax in axes}
    assert views == {(0, 8, 4, 0)}


def test_the_untiled_image_has_its_own_panel():
    left, right = [[0, 0, 4, 4]], [[4, 0, 8, 4]]
    rectangles = np.concatenate([left, right, grid(8, 4, 2, 2)])
    axes = draw2([0, 1, 0, 0, 0, 1], 0.5, rectangles, [(0, 1), (1, 2), (2, 6)]).axes
    assert len(axes) == 4
    assert corners(axes[2]) == [[(0, 0)], [(4, 0)]]
    assert corners(axes[3]) == [[(0, 0), (0, 2), (4, 0)], [(4, 2)]]


def test_heat_maps_share_one_scale_from_zero():
    figure = figures.figure4(SCORES, "A score")
    *panels, bar = figure.axes
    drawn = [ax.images[0] for ax in panels]
    assert [image.get_array().shape for image in drawn] == [(2, 3), (3, 2)]
    assert drawn[0].get_array()[1].tolist() == [0.5, 0.4, 0.6]  # layers on y, heads on x
    assert {image.get_clim() for image in drawn} == {(0, 0.8)}
    assert bar.get_ylabel() == "A score"
    assert [ax.get_title() for ax in panels] == ["first", "second"]


def test_axes_of_means_are_labelled_with_the_score():
    axes = figures.figure5(SCORES, "A score").axes
    assert [ax.get_ylabel() for ax in axes] == ["mean A score", "", "mean A score", ""]


def test_the_order_of_the_rows_does_not_matter():
    reversed_rows = {title: table.iloc[::-1] for title, table in SCORES.items()}
    panels, reversed_panels = figures.figure4(SCORES).axes, figures.figure4(reversed_rows).axes
    for panel, reversed_panel in zip(panels[:2], reversed_panels[:2], strict=True):
        assert (panel.images[0].get_array() == reversed_panel.images[0].get_array()).all()


def test_nulls_have_the_scale_of_the_score_and_the_attended_share_its_own():
    *panels, bar, _ = figures.figure4(SCORES, "A score", NULLS).axes
    panels, bar = [ax for ax in (*panels, bar) if ax.images], panels[-1]
    rows = np.reshape(panels, (4, 2))  # the score and three nulls of two models
    assert {ax.images[0].get_clim() for ax in rows[:3].ravel()} == {(0, 0.8)}
    assert {ax.images[0].get_clim() for ax in rows[3]} == {(0, 1)}
    assert (rows[2, 1].images[0].get_array() == 0.5).all()
    assert [ax.get_ylabel() for ax in rows[:, 0]] == [
        *("A score\nlayer", "random tokens\nlayer", "other objects\nlayer"),
        "attended share\nlayer",
    ]


def test_nulls_are_lines_beside_the_score():
    axes = np.reshape(figures.figure5(SCORES, "A score", NULLS).axes, (3, 2))
    for row in axes[:2]:
        lines = {line.get_label(): set(line.get_ydata()) for line in row[0].get_lines()}
        assert lines["random tokens"] == {0.25} and lines["other objects"] == {0.5}
        assert "attended share" not in lines
    assert axes[2, 1].get_lines()[0].get_ydata().tolist() == pytest.approx([0.75] * 3)


def test_a_score_below_zero_and_its_chance_level_are_drawn():
    scores = {"first": SCORES["first"].assign(value=SCORES["first"]["value"] - 0.3, null=0.25)}
    heat_map, means, _ = figures.score_figure(scores, "A score").axes
    assert heat_map.images[0].get_clim() == (pytest.approx(-0.2), pytest.approx(0.3))
    lines = {line.get_label(): line.get_ydata() for line in means.get_lines()}
    assert lines["mean"] == pytest.approx([-0.1, 0.2])
    assert lines["random tokens"].tolist() == [0.25, 0.25]
    without = {"first": scores["first"].assign(null=np.nan)}
    labels = [line.get_label() for line in figures.score_figure(without, "").axes[1].get_lines()]
    assert "random tokens" not in labels


def test_a_score_of_layers_is_a_line_with_its_own_error():
    layers = {"layer": [1, 0], "head": pd.array([None, None], "Int16"), "value": [3.0, 1.0]}
    table = pd.DataFrame({**layers, "standard_error": [0.5, 0.25], "null": np.nan})
    (first, second) = figures.score_figure({"a": table, "b": table}, "A score").axes
    (line,) = second.get_lines()
    assert line.get_xdata().tolist() == [0, 1] and line.get_ydata().tolist() == [1, 3]
    corners = {tuple(corner) for corner in first.collections[0].get_paths()[0].vertices.tolist()}
    assert {(0, 0.75), (0, 1.25), (1, 2.5), (1, 3.5)} <= corners
    (ax,) = figures.score_figure({"a": table.assign(standard_error=np.nan)}, "").axes
    assert not ax.collections


@pytest.mark.parametrize("draw", [figures.figure4, figures.figure5])
def test_the_figure_is_wider_for_more_models(draw):
    three_models = {**SCORES, "third": SCORES["first"]}
    assert draw(three_models).get_figwidth() > draw(SCORES).get_figwidth()


def test_tick_labels_of_many_heads_do_not_overlap():
    figure = figures.figure4({title: head_scores(np.eye(24, 32)) for title in "abc"})
    figure.draw_without_rendering()
    for ax in figure.axes[:3]:
        low, high = ax.get_xlim()
        ticks = [tick for tick in ax.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
        boxes = [tick.label1.get_window_extent() for tick in ticks]
        assert len(boxes) > 2
        assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_means_errors_and_regression_match_a_calculation_by_hand():
    figure = figures.figure5({"first": SCORES["first"]})
    layers, heads = figure.axes
    mean, regression = layers.get_lines()
    assert mean.get_ydata() == pytest.approx([0.2, 0.5])
    assert regression.get_ydata() == pytest.approx([0.2, 0.5])  # a line through both points
    # The heads of a layer differ by 0.1: s = 0.1, over three heads 0.1 / sqrt(3)
    area = layers.collections[0].get_paths()[0].vertices
    error = 0.1 / np.sqrt(3)
    assert [area[:, 1].min(), area[:, 1].max()] == pytest.approx([0.2 - error, 0.5 + error])
    mean, regression = heads.get_lines()
    assert mean.get_ydata() == pytest.approx([0.3, 0.3, 0.45])
    # The slope is (-1 * 0.3 + 0 * 0.3 + 1 * 0.45) / 2 = 0.075 around the mean 0.35.
    assert regression.get_ydata() == pytest.approx([0.275, 0.35, 0.425])
    assert (mean.get_linestyle(), mean.get_marker()) == ("-", "o")
    assert regression.get_linestyle() == "--"
    assert to_hex(mean.get_color()) != to_hex(regression.get_color())


@pytest.mark.filterwarnings("ignore:Degrees of freedom", "ignore:invalid value")
def test_a_model_of_one_layer_has_no_regression_over_layers():
    layers, heads = figures.figure5({"first": head_scores([[0.1, 0.2]])}).axes
    assert [len(layers.get_lines()), len(heads.get_lines())] == [1, 2]


@pytest.mark.parametrize("draw", [figures.figure4, figures.figure5])
def test_a_figure_is_saved_with_the_same_bytes_each_time(tmp_path, draw):
    names = ["first.svg", "second.svg", "first.png", "second.png"]
    paths = [tmp_path / name for name in names]
    figures.save(draw(SCORES), paths[::2])
    figures.save(draw(SCORES), [str(path) for path in paths[1::2]])
    for kind in (0, 2):
        assert paths[kind].read_bytes() == paths[kind + 1].read_bytes()
    assert b"<dc:date>" not in paths[0].read_bytes()
    width = draw(SCORES).get_figwidth()
    assert Image.open(paths[2]).width == pytest.approx(200 * width, abs=1)


def test_reports_do_not_import_torch_or_transformers():
    code = (
        "import sys; from headimpact.report import figures, forgetting, paper, shifts\n"
        "from headimpact import statistics; from headimpact.report import table4, tables\n"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_long_titles_of_neighbouring_models_do_not_overlap():
    long = "Qwen2-VL (reading heads spread over the depth)"
    figure = figures.figure4({long: SCORES["first"], f"{long}, again": SCORES["second"]})
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    left, right = (ax.title.get_window_extent(canvas.get_renderer()) for ax in figure.axes[:2])
    assert left.x1 < right.x0
