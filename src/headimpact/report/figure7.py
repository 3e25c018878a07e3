"""Draws Figure 7: faithfulness and completeness of the orders of heads by each score."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from headimpact.report.figures import COLOURS, wrap_title
from headimpact.scores.head_orders import DEPTH, RANDOM

OUTCOMES = {"log_probability": "description", "margin": "question"}
HEIGHTS = (-0.3, 1.3)  # of a panel; values beyond them, of partial ablations, are cut off
LINES = ("-", (0, (6, 1.5)), (0, (4, 1, 1, 1)))
OTHER_STYLES = {DEPTH: ("--", "black"), RANDOM: (":", "#555555")}
# the first measured k are the ones that tell scores apart
LABELLED = (1, 2, 4, 8)


def figure7(curves: pd.DataFrame) -> Figure:
    """Figure 7: what the first k heads carry, for every model, outcome and variant.

    curves: the rows of `faithfulness.curves_of_model`, with a column `model`. A column of panels
    is a model and a variant; a row is an outcome and a curve. A line is a score; the lowest layer
    first is dashed, and the random orders are a band from the lowest to the highest of them
    around their mean. k is on a logarithmic scale, because few heads carry most.
    """
    columns = list(curves.groupby(["model", "variant"], sort=False))
    rows = list(curves.groupby(["outcome", "curve"], sort=False).groups)
    scores = [name for name in curves["score"].unique() if name not in (DEPTH, RANDOM)]
    styles = {name: _style(number) for number, name in enumerate(scores)}
    figure = Figure(
        figsize=(max(6, 0.8 + 3.2 * len(columns)), 1.5 + 2.4 * len(rows)), layout="constrained"
    )
    axes = figure.subplots(len(rows), len(columns), squeeze=False, sharex="col", sharey=True)
    for column, ((model, variant), of_model) in enumerate(columns):
        for row, (outcome, curve) in enumerate(rows):
            in_panel = (of_model["outcome"] == outcome) & (of_model["curve"] == curve)
            _draw_curves(axes[row, column], of_model[in_panel], styles)
            axes[row, 0].set_ylabel(f"{OUTCOMES[outcome]}:\n{curve}")
        axes[0, column].set_title(f"{wrap_title(model)}\n{variant}")
        axes[-1, column].set_xlabel("first k heads")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _style(number: int) -> tuple[str, str]:
    """The line and colour of a score; colours return with another line."""
    colours = [colour for colour in COLOURS if colour != "black"]  # that of the depth
    line, colour = divmod(number, len(colours))
    return LINES[line % len(LINES)], colours[colour]


def _draw_curves(ax: Axes, curves: pd.DataFrame, styles: dict[str, tuple[str, str]]) -> None:
    """The curves of a panel; nothing kept, k = 0, has no place on a logarithmic scale."""
    ax.axhline(0, color="black", linewidth=0.6)
    ax.axhline(1, color="black", linewidth=0.6)
    for name, points in curves[curves["k"] > 0].groupby("score", sort=False):
        if name == RANDOM:
            ax.fill_between(points["k"], points["lowest"], points["highest"], color="#00000022")
        line, colour = (styles | OTHER_STYLES)[name]
        ax.plot(
            points["k"], points["value"], linestyle=line, color=colour, linewidth=1.2, label=name
        )
    ax.set_xscale("log", base=2)
    total = curves["k"].max()
    ax.set_xticks(ks := [*(k for k in LABELLED if k < total), total], labels=map(str, ks))
    ax.xaxis.set_minor_formatter(NullFormatter())
    # set, since a panel without a value has no scale of its own
    ax.set(xlim=(0.9, 1.1 * total), ylim=HEIGHTS)
    ax.grid(alpha=0.3)
