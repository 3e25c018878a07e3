"""The paper's figures 2, 4 and 5, from artifacts."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from headimpact.scores.coverage import mask_tokens

BLUE, ORANGE, VERMILION = "#0072b2", "#e69f00", "#d55e00"  # told apart by any eye


def save(figure, paths):
    """Write `figure` to each of `paths`, the kind by suffix; the same bytes each time."""
    with matplotlib.rc_context({"svg.hashsalt": "headimpact", "svg.fonttype": "none"}):
        for path in map(Path, paths):
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(path, dpi=200, metadata=metadata)


def figure2(image, mask, rectangles, coverage, share, title, tiles):
    """A key object: image, mask and the visual tokens that belong to it (Fig. 2).

    image: PIL, RGB. mask: bool (height, width). rectangles: float (tokens, 4), x0, y0, x1, y1 in
    pixels of the image. coverage: float (tokens,). share: what makes a token part of the mask.
    tiles: list of (start, stop); several mean tiles, of which the last is the whole image once
    more, drawn in a panel of its own.
    """
    width, height = image.size
    whole, parts = tiles[-1], tiles[:-1]
    panels = [("visual tokens of the whole image", [whole])] if parts else []
    panels.insert(0, ("visual tokens of the tiles" if parts else "visual tokens", parts or [whole]))
    count = 2 + len(panels)
    # the titles' height beside that of the panels
    figure = Figure(figsize=(3.2 * count, 0.7 + 3.2 * height / width), layout="constrained")
    axes = figure.subplots(1, count)
    figure.suptitle(title)
    extent = (0, width, height, 0)  # pixel edges at whole numbers, as in `rectangles`
    axes[0].imshow(image, extent=extent)
    axes[0].set_title("image")
    axes[1].imshow(mask, cmap="gray", vmin=0, vmax=1, extent=extent)
    axes[1].set_title("mask")
    held = mask_tokens(coverage, share)
    for ax, (name, spans) in zip(axes[2:], panels, strict=True):
        ax.imshow(image, extent=extent)
        ax.set_title(name)
        shown = np.concatenate([np.arange(*span) for span in spans])
        for wanted, style in (
            (False, {"facecolor": "none", "edgecolor": "#00000066", "linewidth": 0.4}),
            (True, {"facecolor": ORANGE + "99", "edgecolor": "black", "linewidth": 0.6}),
        ):
            boxes = [
                Rectangle((x0, y0), x1 - x0, y1 - y0)
                for x0, y0, x1, y1 in np.asarray(rectangles)[shown[held[shown] == wanted]]
            ]
            ax.add_collection(PatchCollection(boxes, **style), autolim=False)
    for ax in axes:
        ax.set_axis_off()
    return figure


def _matrix(table, column="value"):
    return table.pivot(index="layer", columns="head", values=column).to_numpy()


def figure4(scores, name="Head Impact"):
    """A score of every attention head; scores: {title: table of kind "scores"} (Fig. 4)."""
    matrices = {title: _matrix(table) for title, table in scores.items()}
    figure = Figure(figsize=(0.8 + 3.2 * len(matrices), 5), layout="constrained")
    axes = figure.subplots(1, len(matrices), squeeze=False)[0]
    high = max(matrix.max() for matrix in matrices.values())
    for ax, (title, matrix) in zip(axes, matrices.items(), strict=True):
        drawn = ax.imshow(matrix, cmap="viridis", vmin=0, vmax=high, aspect="auto")
        ax.set(title=title, xlabel="attention head")
        _count(ax.xaxis, ax.yaxis)
    axes[0].set_ylabel("layer")
    figure.colorbar(drawn, ax=list(axes), label=name, shrink=0.9)
    return figure


def _count(*axes):
    """Ticks at whole numbers, few enough to be read."""
    for axis in axes:
        axis.set_major_locator(MaxNLocator(integer=True))


def figure5(scores, name="Head Impact"):
    """Mean of a score by layer and by head, with error and regression line (Fig. 5).

    scores: {title: table of kind "scores"}. name: what the score is called. The filled area is the
    standard error over what is averaged: the heads of a layer above, the layers of a head below.
    """
    figure = Figure(figsize=(max(5, 4 * len(scores)), 6), layout="constrained")
    axes = figure.subplots(2, len(scores), squeeze=False, sharey=True)
    for column, (title, table) in enumerate(scores.items()):
        matrix = _matrix(table)
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
            _count(ax.xaxis)
            ax.grid(alpha=0.3)
        axes[0, column].set_title(title)
    for row in axes:
        row[0].set_ylabel(f"mean {name}")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure
