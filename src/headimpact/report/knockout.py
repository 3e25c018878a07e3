"""Attention knockout by layer: knockout.csv and Figure 8."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from headimpact.knockout_names import ROWS, SOURCES
from headimpact.report.figures import COLOURS, wrap_title
from headimpact.scores.head_impact import images_of
from headimpact.scores.knockout import knockout_changes
from headimpact.statistics import cluster_sums, clustered_error, percentile_interval, resample

COLOUR_OF = dict(zip(SOURCES, COLOURS, strict=True))
GROUP = ["outcome", "measure", "rows", "source"]


def knockout_table(
    knockouts: dict[str, pd.DataFrame],
    objects: pd.DataFrame,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """The mean change of each knockout over items, with its error.

    knockouts: {title: table of that kind}. objects: a table of that kind. Returns a row for each
    model, outcome, measure, rows, source and layer, the centre of the window: change, in percent
    for the measure "probability" and in nats for the others; standard_error, clustered by image;
    low and high, the bounds of an interval from images drawn with replacement; n, how many items;
    and image_tokens, how many tokens the source has on average.
    """
    tables = []
    for title, table in knockouts.items():
        for group, rows in knockout_changes(table).groupby(GROUP, sort=False):
            changes = rows.pivot(index="object_id", columns="layer", values="change")
            means = _average(changes.to_numpy(), images_of(changes.index, objects), draws, seed)
            columns = {"model": title, **dict(zip(GROUP, group, strict=True))}
            columns |= {"layer": changes.columns, **means, "n": len(changes)}
            tokens = rows.drop_duplicates("object_id")["image_tokens"].mean()
            tables.append(pd.DataFrame({**columns, "image_tokens": tokens}))
    return pd.concat(tables, ignore_index=True)


def _average(
    values: np.ndarray, images: np.ndarray, draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Mean, standard error and interval of values (items, layers), each (layers,)."""
    counted = np.column_stack([values, np.ones(len(values))])
    sums = resample(cluster_sums(counted, images), draws, np.random.default_rng(seed))
    low, high = percentile_interval(sums[:, :-1] / sums[:, -1:], axis=0)
    error = clustered_error(values, images)
    return {"change": values.mean(0), "standard_error": error, "low": low, "high": high}


def figure8(table: pd.DataFrame) -> Figure:
    """Figure 8: the relative change of a probability by layer, a line a source.

    table: what `knockout_table` returns. A column of panels is a model; a row is an outcome and the
    tokens of the text that lose reads.
    """
    table = table[table["measure"] == "probability"]
    models = table["model"].unique()
    known = table[["outcome", "rows"]].drop_duplicates().itertuples(index=False, name=None)
    panels = sorted(known, key=lambda panel: (panel[0], list(ROWS).index(panel[1])))
    figure = Figure(
        figsize=(max(6, 0.8 + 3.4 * len(models)), 1 + 2.4 * len(panels)), layout="constrained"
    )
    axes = figure.subplots(len(panels), len(models), squeeze=False, sharex="col", sharey="row")
    for panel, row in zip(panels, axes, strict=True):
        outcome, rows = panel
        for model, ax in zip(models, row, strict=True):
            chosen = (table["model"] == model) & (table["outcome"] == outcome)
            _draw_sources(ax, table[chosen & (table["rows"] == rows)])
        row[0].set_ylabel(f"{outcome}, from {rows}\nchange of probability (%)")
    for ax, model in zip(axes[0], models, strict=True):
        ax.set_title(wrap_title(model))
    for ax in axes[-1]:
        ax.set_xlabel("layer")
    # a source may be missing from a model, because no object there has such tokens
    entries = {}
    for ax in axes.flat:
        handles, labels = ax.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(entries.values(), entries, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw_sources(ax: Axes, rows: pd.DataFrame) -> None:
    """The profile of each source over the layers, with its interval."""
    ax.axhline(0, color="black", linewidth=0.6)
    ax.grid(alpha=0.3)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for source, profile in rows.groupby("source", sort=False):
        profile, colour = profile.sort_values("layer"), COLOUR_OF[source]
        ax.plot(profile["layer"], profile["change"], "o-", color=colour, markersize=3, label=source)
        area = {"color": colour, "alpha": 0.15, "linewidth": 0}
        ax.fill_between(profile["layer"], profile["low"], profile["high"], **area)
