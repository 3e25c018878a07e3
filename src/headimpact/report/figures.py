"""Draws figures 2, 4 and 5 of the paper."""

import textwrap
from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from PIL.Image import Image

from headimpact.scores.coverage import mask_tokens

BLUE, ORANGE, VERMILION = "#0072b2", "#e69f00", "#d55e00"  # also for colour-blind readers
# Eight colours that colour-blind readers can tell apart (Okabe and Ito), grey for their yellow.
COLOURS = (BLUE, VERMILION, "#009e73", ORANGE, "#cc79a7", "#56b4e9", "black", "#999999")


def save(figure: Figure, paths: Iterable[str | Path]) -> None:
    """Write the figure to each of `paths`, in the format of its suffix, with reproducible bytes."""
    with matplotlib.rc_context({"svg.hashsalt": "headimpact", "svg.fonttype": "none"}):
        for path in map(Path, paths):
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(path, dpi=200, metadata=metadata)


def distinct_colours(count: int) -> Iterable[str]:
    """As many colours as are asked for."""
    if count <= len(COLOURS):
        return COLOURS[:count]
    scale = matplotlib.colormaps["viridis"](np.linspace(0, 1, count))
    return map(matplotlib.colors.to_hex, scale)


def figure2(
    image: Image,
    mask: np.ndarray,
    rectangles: np.ndarray,
    coverage: np.ndarray,
    share: float,
    title: str,
    tiles: list[tuple[int, int]],
) -> Figure:
    """Figure 2: a key object with its image, its mask and the visual tokens that it covers.

    image: RGB. mask: bool (height, width). rectangles: float (tokens, 4), x0, y0, x1, y1 of each
    token in pixels of the image. coverage: float (tokens,). share: the mask_share from which a
    token is covered. tiles: (start, stop) of the tokens of each tile. If there are several, the
    last one is the untiled image, which gets a panel of its own.
    """
    width, height = image.size
    *tile_spans, untiled_span = tiles
    if tile_spans:
        panels = [("visual tokens of the tiles", tile_spans)]
        panels.append(("visual tokens of the whole image", [untiled_span]))
    else:
        panels = [("visual tokens", [untiled_span])]
    count = 2 + len(panels)
    # 0.7 inches are for the titles above the panels.
    figure = Figure(figsize=(3.2 * count, 0.7 + 3.2 * height / width), layout="constrained")
    axes = figure.subplots(1, count)
    figure.suptitle(title)
    extent = (0, width, height, 0)  # As in `rectangles`, pixels begin at whole numbers.
    axes[0].imshow(image, extent=extent)
    axes[0].set_title("image")
    axes[1].imshow(mask, cmap="gray", vmin=0, vmax=1, extent=extent)
    axes[1].set_title("mask")
    covered = mask_tokens(coverage, share)
    for ax, (name, spans) in zip(axes[2:], panels, strict=True):
        ax.imshow(image, extent=extent)
        ax.set_title(name)
        tokens = np.concatenate([np.arange(*span) for span in spans])
        for is_covered, style in (
            (False, {"facecolor": "none", "edgecolor": "#00000066", "linewidth": 0.4}),
            (True, {"facecolor": ORANGE + "99", "edgecolor": "black", "linewidth": 0.6}),
        ):
            boxes = [
                Rectangle((x0, y0), x1 - x0, y1 - y0)
                for x0, y0, x1, y1 in np.asarray(rectangles)[tokens[covered[tokens] == is_covered]]
            ]
            ax.add_collection(PatchCollection(boxes, **style), autolim=False)
    for ax in axes:
        ax.set_axis_off()
    return figure


ScoresOfModels = dict[str, pd.DataFrame]  # {title of the model: table of kind "scores"}

# A null's line in figure 5; "attended share" has a panel of its own, because it is no IoU.
NULL_COLOURS = {
    "random tokens": "#555555",
    "shifted masks": "#56b4e9",
    "other objects": "#e69f00",
    "untrained model": "#cc79a7",
}
SHARE = "attended share"


def _to_matrix(table: pd.DataFrame, column: str = "value") -> np.ndarray:
    """The scores of the heads, (layers, heads)."""
    return table.pivot(index="layer", columns="head", values=column).to_numpy()


def _split_nulls(nulls: ScoresOfModels) -> dict[str, dict[str, np.ndarray]]:
    """{null: {title of the model: matrix}} of tables that hold several nulls."""
    matrices = {}
    for title, table in nulls.items():
        for name, rows in table.groupby("score", sort=False):
            matrices.setdefault(name, {})[title] = _to_matrix(rows)
    return matrices


def figure4(
    scores: ScoresOfModels, name: str = "Head Impact", nulls: ScoresOfModels | None = None
) -> Figure:
    """Figure 4: heat maps of a score of every attention head, and of its nulls below.

    name: the name of the score. nulls: tables whose column `score` names a null. All heat maps but
    that of the attended share have the same scale.
    """
    rows = {name: {title: _to_matrix(table) for title, table in scores.items()}}
    rows |= _split_nulls(nulls or {})
    height = 5 if len(rows) == 1 else 0.6 + 2.4 * len(rows)
    figure = Figure(figsize=(0.8 + 3.2 * len(scores), height), layout="constrained")
    axes = figure.subplots(len(rows), len(scores), squeeze=False)
    same_scale = [ax for ax, row in zip(axes, rows, strict=True) if row != SHARE]
    high = max(m.max() for row, matrices in rows.items() if row != SHARE for m in matrices.values())
    for row_axes, (row, matrices) in zip(axes, rows.items(), strict=True):
        for ax, title in zip(row_axes, scores, strict=True):
            if title not in matrices:
                ax.set_axis_off()
                continue
            scale = {"vmin": 0, "vmax": 1 if row == SHARE else high}
            heat_map = ax.imshow(matrices[title], cmap="viridis", aspect="auto", **scale)
            _set_integer_ticks(ax.xaxis, ax.yaxis)
        row_axes[0].set_ylabel("layer" if len(rows) == 1 else f"{row}\nlayer")
        if row == SHARE:
            figure.colorbar(heat_map, ax=list(row_axes), label="share of tokens", shrink=0.9)
        else:
            last = heat_map
    for upper, lower, title in zip(axes[0], axes[-1], scores, strict=True):
        upper.set_title(wrap_title(title))
        lower.set_xlabel("attention head")
    figure.colorbar(last, ax=list(np.concatenate(same_scale)), label=name, aspect=40)
    return figure


def wrap_title(title: str) -> str:
    """A model's title in lines as wide as a panel, so that it stays off the next one's."""
    return textwrap.fill(title, 30)


def _set_integer_ticks(*axes: Axis) -> None:
    """Place the ticks at whole numbers, and not more than fit."""
    for axis in axes:
        axis.set_major_locator(MaxNLocator(integer=True))


def figure5(
    scores: ScoresOfModels, name: str = "Head Impact", nulls: ScoresOfModels | None = None
) -> Figure:
    """Figure 5: the mean of a score by layer and by head, with its error and a regression line.

    name: the name of the score. nulls: as in `figure4`; the mean of each is a line beside the
    score's, and the attended share by layer has a third row. The upper row shows the mean over the
    heads of each layer, the middle row that over the layers of each head index. The filled area is
    the standard error of that mean.
    """
    matrices = _split_nulls(nulls or {})
    shares = matrices.pop(SHARE, {})
    rows = 3 if shares else 2
    figure = Figure(figsize=(max(5, 4 * len(scores)), 3 * rows), layout="constrained")
    axes = figure.subplots(rows, len(scores), squeeze=False, sharey="row" if shares else True)
    for column, (title, table) in enumerate(scores.items()):
        matrix = _to_matrix(table)
        of_nulls = {null: models[title] for null, models in matrices.items() if title in models}
        for row, axis in enumerate(("layer", "attention head")):
            ax = axes[row, column]
            _draw_means(ax, matrix.T if row else matrix)
            for null, values in of_nulls.items():
                mean = values.mean(0 if row else 1)
                ax.plot(range(len(mean)), mean, ":", color=NULL_COLOURS.get(null), label=null)
            _label_places(ax, axis)
        if title in shares:
            ax, mean = axes[2, column], shares[title].mean(1)
            ax.plot(range(len(mean)), mean, "o-", color="black", markersize=3)
            _label_places(ax, "layer")
        axes[0, column].set_title(wrap_title(title))
    for row in axes[:2]:
        row[0].set_ylabel(f"mean {name}")
    if shares:
        axes[2, 0].set_ylabel("share of tokens attended")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw_means(ax: Axes, groups: np.ndarray) -> None:
    """Mean, standard error and regression line of groups, (groups, values)."""
    x, mean = np.arange(len(groups)), groups.mean(1)
    error = groups.std(1, ddof=1) / np.sqrt(groups.shape[1])
    ax.plot(x, mean, "o-", color=BLUE, markersize=3, label="mean")
    area = {"color": BLUE, "alpha": 0.3, "linewidth": 0}
    ax.fill_between(x, mean - error, mean + error, label="standard error", **area)
    if len(x) > 1:
        line = np.polyval(np.polyfit(x, mean, 1), x)
        ax.plot(x, line, "--", color=VERMILION, label="regression line")


def _label_places(ax: Axes, axis: str) -> None:
    ax.set_xlabel(axis)
    _set_integer_ticks(ax.xaxis)
    ax.grid(alpha=0.3)


def score_figure(scores: ScoresOfModels, name: str) -> Figure:
    """A score of every attention head as a heat map, and its mean by layer with its error.

    name: the name of the score. What the score would be by chance is a line, where it is known. A
    score of layers has no heat map.
    """
    if all(table["head"].isna().all() for table in scores.values()):
        return _layer_score_figure(scores, name)
    figure = Figure(figsize=(max(5, 0.8 + 3.2 * len(scores)), 7), layout="constrained")
    upper, lower = figure.subplots(
        2, len(scores), squeeze=False, height_ratios=(4, 3), sharey="row"
    )
    matrices = {title: _to_matrix(table) for title, table in scores.items()}
    low = min(0, min(matrix.min() for matrix in matrices.values()))
    high = max(matrix.max() for matrix in matrices.values())
    for ax, means, (title, matrix) in zip(upper, lower, matrices.items(), strict=True):
        heat_map = ax.imshow(matrix, cmap="viridis", vmin=low, vmax=high, aspect="auto")
        ax.set(title=wrap_title(title), xlabel="attention head")
        _set_integer_ticks(ax.xaxis, ax.yaxis)
        _draw_means(means, matrix)
        chance = scores[title]["null"]
        if chance.notna().all():
            chance = _to_matrix(scores[title], "null").mean(1)
            means.plot(range(len(chance)), chance, ":", color="#555555", label="random tokens")
        _label_places(means, "layer")
    upper[0].set_ylabel("layer")
    lower[0].set_ylabel(f"mean {name}")
    figure.colorbar(heat_map, ax=list(upper), label=name, shrink=0.9)
    handles, labels = lower[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _layer_score_figure(scores: ScoresOfModels, name: str) -> Figure:
    """A score of every layer, with its standard error where it has one."""
    figure = Figure(figsize=(max(5, 0.8 + 3.2 * len(scores)), 3.5), layout="constrained")
    axes = figure.subplots(1, len(scores), squeeze=False, sharey=True)[0]
    for ax, (title, table) in zip(axes, scores.items(), strict=True):
        table = table.sort_values("layer")
        layers, values, errors = table["layer"], table["value"], table["standard_error"]
        ax.plot(layers, values, "o-", color=BLUE, markersize=3, label=name)
        if errors.notna().all():
            area = {"color": BLUE, "alpha": 0.3, "linewidth": 0, "label": "standard error"}
            ax.fill_between(layers, values - errors, values + errors, **area)
        ax.set_title(wrap_title(title))
        _label_places(ax, "layer")
    axes[0].set_ylabel(name)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure
