"""Draws figures 2, 4 and 5 of the paper."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from PIL.Image import Image

from headimpact.scores.coverage import mask_tokens

BLUE, ORANGE, VERMILION = "#0072b2", "#e69f00", "#d55e00"  # also for colour-blind readers


def save(figure: Figure, paths: Iterable[str | Path]) -> None:
    """Write the figure to each of `paths`, in the format of its suffix, with reproducible bytes."""
    with matplotlib.rc_context({"svg.hashsalt": "headimpact", "svg.fonttype": "none"}):
        for path in map(Path, paths):
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(path, dpi=200, metadata=metadata)


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


def _to_matrix(table: pd.DataFrame) -> np.ndarray:
    """The scores of the heads, (layers, heads)."""
    return table.pivot(index="layer", columns="head", values="value").to_numpy()


def figure4(scores: dict[str, pd.DataFrame], name: str = "Head Impact") -> Figure:
    """Figure 4: heat maps of a score of every attention head.

    scores: {title: table of kind "scores"}. name: the name of the score.
    """
    matrices = {title: _to_matrix(table) for title, table in scores.items()}
    figure = Figure(figsize=(0.8 + 3.2 * len(matrices), 5), layout="constrained")
    axes = figure.subplots(1, len(matrices), squeeze=False)[0]
    high = max(matrix.max() for matrix in matrices.values())
    for ax, (title, matrix) in zip(axes, matrices.items(), strict=True):
        heat_map = ax.imshow(matrix, cmap="viridis", vmin=0, vmax=high, aspect="auto")
        ax.set(title=title, xlabel="attention head")
        _set_integer_ticks(ax.xaxis, ax.yaxis)
    axes[0].set_ylabel("layer")
    figure.colorbar(heat_map, ax=list(axes), label=name, shrink=0.9)
    return figure


def _set_integer_ticks(*axes: Axis) -> None:
    """Place the ticks at whole numbers, and not more than fit."""
    for axis in axes:
        axis.set_major_locator(MaxNLocator(integer=True))


def figure5(scores: dict[str, pd.DataFrame], name: str = "Head Impact") -> Figure:
    """Figure 5: the mean of a score by layer and by head, with its error and a regression line.

    scores: {title: table of kind "scores"}. name: the name of the score. The upper row shows the
    mean over the heads of each layer, the lower row that over the layers of each head index. The
    filled area is the standard error of that mean.
    """
    figure = Figure(figsize=(max(5, 4 * len(scores)), 6), layout="constrained")
    axes = figure.subplots(2, len(scores), squeeze=False, sharey=True)
    for column, (title, table) in enumerate(scores.items()):
        matrix = _to_matrix(table)
        for row, (values, axis) in enumerate(((matrix, "layer"), (matrix.T, "attention head"))):
            ax, x = axes[row, column], np.arange(len(values))
            mean = values.mean(1)
            error = values.std(1, ddof=1) / np.sqrt(values.shape[1])
            ax.plot(x, mean, "o-", color=BLUE, markersize=3, label="mean")
            area = {"color": BLUE, "alpha": 0.3, "linewidth": 0}
            ax.fill_between(x, mean - error, mean + error, label="standard error", **area)
            if len(x) > 1:
                line = np.polyval(np.polyfit(x, mean, 1), x)
                ax.plot(x, line, "--", color=VERMILION, label="regression line")
            ax.set_xlabel(axis)
            _set_integer_ticks(ax.xaxis)
            ax.grid(alpha=0.3)
        axes[0, column].set_title(title)
    for row in axes:
        row[0].set_ylabel(f"mean {name}")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure
