"""What each training learned against what it forgot: forgetting.csv and Figure 6."""

from itertools import cycle

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from headimpact.evaluation.metrics import Metric
from headimpact.paired import paired_difference
from headimpact.report.figures import distinct_colours, wrap_title
from headimpact.report.table4 import Answers, match_items

MARKERS = "os^DvPX*<>ph8d"
# Runs that diverge lie ten times as far away as the others: the x axis is linear up to this value,
# and logarithmic beyond.
LINEAR = 0.2
TICKS = (-5, -2, -1, -0.5, -0.2, -0.1, 0, 0.1, 0.2, 0.5, 1, 2, 5)
RUN_COLUMNS = ["model", "setup", "variant", "learning_rate", "draw", "seed", "layers"]


def changes_of_runs(
    answers: Answers,
    metrics: dict[str, Metric],
    layers: dict[str, dict[tuple[str, int], list[int]]],
    trainings: dict[tuple[str, str, int], dict[str, float]],
) -> pd.DataFrame:
    """A row for each run that trains: how far it moved each metric from the model as it is.

    answers: as in `table4.table4_draws`, with a setup `original` of every model. metrics: {name:
    metric}. layers: {title: {(setup, draw): trained layers}}. trainings: {(setup, variant, draw):
    learning_rate and seed}.

    The columns `change_columns` of a metric hold the mean over the test items of the difference of
    `Metric.of_items`, of the same item after and before training, and its standard error clustered
    by image. Raises UserError if two runs of a model have different test items.
    """
    rows = []
    for title, unmatched in answers.items():
        runs = match_items(title, unmatched)
        images = next(iter(runs.values()))["sample_id"]
        original = {
            name: [
                metric.of_items(items) for (setup, *_), items in runs.items() if setup == "original"
            ]
            for name, metric in metrics.items()
        }
        for (setup, variant, draw), items in runs.items():
            if setup == "original":
                continue
            row = {"model": title, "setup": setup, "variant": variant, "draw": draw}
            row |= trainings[setup, variant, draw]
            row["layers"] = ", ".join(map(str, layers[title][setup, draw]))
            for name, metric in metrics.items():
                result = paired_difference([metric.of_items(items)], original[name], images)
                values = result.difference, result.standard_error
                row |= dict(zip(change_columns(name, metric), values, strict=True))
            rows.append(row)
    columns = [column for item in metrics.items() for column in change_columns(*item)]
    return pd.DataFrame(rows, columns=[*RUN_COLUMNS, *columns])


def change_columns(name: str, metric: Metric) -> tuple[str, str]:
    """The columns of forgetting.csv with the change of a metric and the error of that change."""
    stem = f"log_{name}" if metric.is_logarithmic else name
    return f"{stem}_change", f"{stem}_error"


def figure6(changes: pd.DataFrame, metrics: dict[str, Metric], learned: str) -> Figure:
    """Figure 6: what each run learned, sideways, against what it forgot, upwards.

    changes: what `changes_of_runs` returns. learned: the name of the metric of what training
    trains, whose change is the x axis. Every other metric is a row of panels, and every model a
    column with scales of its own. A point is a run, its colour the setup and its shape the variant
    of the training. The model as it is lies where the zero lines cross. Where there are several
    variants, a thin line joins it with the means over the draws of a setup, in the order of the
    learning rate: of two setups, the one whose line is the better in a panel forgets less when it
    has learned as much. The x axis is linear up to LINEAR
    and logarithmic beyond.
    """
    models, setups = changes["model"].unique(), changes["setup"].unique()
    forgotten = {name: metric for name, metric in metrics.items() if name != learned}
    colours = dict(zip(setups, distinct_colours(len(setups)), strict=True))
    markers = dict(zip(changes["variant"].unique(), cycle(MARKERS), strict=False))
    figure = Figure(
        figsize=(max(6, 0.8 + 3.4 * len(models)), 1.2 + 2.8 * len(forgotten)), layout="constrained"
    )
    axes = figure.subplots(len(forgotten), len(models), squeeze=False, sharex="col")
    x = change_columns(learned, metrics[learned])[0]
    for row, (name, metric) in zip(axes, forgotten.items(), strict=True):
        y = change_columns(name, metric)[0]
        for ax, model in zip(row, models, strict=True):
            _draw_runs(ax, changes[changes["model"] == model], x, y, colours, markers)
        row[0].set_ylabel(_axis_label("forgot", metric))
    for ax, model in zip(axes[0], models, strict=True):
        ax.set_title(wrap_title(model))
    for ax in axes[-1]:
        ax.set_xlabel(_axis_label("learned", metrics[learned]))
    setup_entries = [_legend_entry(setup, colour, "s") for setup, colour in colours.items()]
    style = {"ncols": 2 + len(models), "frameon": False}
    figure.legend(handles=setup_entries, loc="outside lower center", **style)
    variant_entries = [
        _legend_entry(_variant_label(variant, changes), "#555555", marker)
        for variant, marker in markers.items()
    ]
    style = {"ncols": max(2, len(models)), "frameon": False}
    figure.legend(handles=variant_entries, loc="outside upper center", **style)
    return figure


def _draw_runs(
    ax: Axes, runs: pd.DataFrame, x: str, y: str, colours: dict[str, str], markers: dict[str, str]
) -> None:
    """The runs of a model in a panel; x, y: the columns with the changes."""
    ax.axhline(0, color="black", linewidth=0.6)
    ax.axvline(0, color="black", linewidth=0.6)
    ax.grid(alpha=0.3)
    ax.set_xscale("symlog", linthresh=LINEAR, linscale=1.5)
    ax.xaxis.set_major_locator(FixedLocator(TICKS))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    for setup, of_setup in runs.groupby("setup", sort=False):
        for variant, points in of_setup.groupby("variant", sort=False):
            style = {"color": colours[setup], "marker": markers[variant], "alpha": 0.75}
            ax.scatter(points[x], points[y], s=18, linewidths=0, **style)
        means = of_setup.groupby("variant")[["learning_rate", x, y]].mean()
        means = means.sort_values("learning_rate")
        if len(means) > 1:
            path = {"color": colours[setup], "linewidth": 0.8, "alpha": 0.75}
            ax.plot([0, *means[x]], [0, *means[y]], **path)


def _axis_label(verb: str, metric: Metric) -> str:
    """Says what a change is of and which way is better; text of a y axis runs upwards."""
    better = "higher is better →" if metric.higher_is_better else "← lower is better"
    return f"{verb}: change of\n{metric.shift_heading}\n{better}"


def _legend_entry(label: str, colour: str, marker: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, linestyle="", label=label)


def _variant_label(variant: str, changes: pd.DataFrame) -> str:
    """A variant's learning rate and name; several rates where setups have their own."""
    rates = changes.loc[changes["variant"] == variant, "learning_rate"].unique()
    return f"learning rate {', '.join(f'{rate:g}' for rate in sorted(rates))} ({variant})"
