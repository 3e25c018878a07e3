"""Table 6: all scores of a study side by side, with controls that need no score."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from headimpact.scores.inputs import scores_of_table
from headimpact.scores.layers import layer_scores
from headimpact.statistics import highest

OUTCOMES = ("log_probability", "margin")  # of faithfulness and completeness


@dataclass(frozen=True)
class RankedScore:
    """A score of one model. table: of kind "scores". higher_is_better: as in the registry."""

    table: pd.DataFrame
    higher_is_better: bool

    @cached_property
    def values(self) -> np.ndarray:
        """float64 (layers, heads) or (layers,), turned so that higher is better."""
        values = scores_of_table(self.table).value
        return values if self.higher_is_better else -values

    @cached_property
    def layer_values(self) -> np.ndarray:
        """float64 (layers,), the mean over the heads, by which layers are ranked."""
        values = layer_scores(self.table)
        return values if self.higher_is_better else -values


@dataclass(frozen=True)
class Training:
    """What was measured of the setups that a study trains; see `report.shifts`.

    shifts, ranks: `table4_shifts` and `top_ranks`. setup_of: {score: the setup of its top layers}.
    controls: setups whose layers no score chooses. metrics: {title in `shifts`: name}. ranked:
    the title of the metric whose ranks are shown. drawn: {setup of random draws: its top setup if
    they match that, or None}.
    """

    shifts: pd.DataFrame
    ranks: pd.DataFrame
    setup_of: Mapping[str, str]
    controls: Iterable[str]
    metrics: Mapping[str, str]
    ranked: str | None
    drawn: Mapping[str, str | None]


def table6(
    scores: Mapping[str, Mapping[str, RankedScore]],
    count: int,
    attribution: str | None = None,
    areas: pd.DataFrame | None = None,
    known: pd.DataFrame | None = None,
    training: Training | None = None,
    times: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """A row for each model and score, for each order of heads that `areas` has beside the scores,
    and for each control; columns without a value are nan.

    scores: {model: {score: RankedScore}}, the first score of each model is the reference. count:
    how many layers are the top. attribution: the score that is head attribution. areas, known: the
    tables of `faithfulness_areas.csv` and `known_answer.csv`. times: see `job_times.score_times`.

    passes is the score's cost, see `scores.inputs.Scores`; seconds and seconds_in_passes are what
    was measured of it. split_half is Spearman's rho between the
    scores of either half of the images. rho_reference, rho_attribution and rho_depth are Spearman's
    rho with the first score, with attribution and with the layer's index; over heads where both
    have a number a head, else over layers, with a layer's index always over layers. top_overlap
    counts the layers that are among the first `count` of the score and of the reference.
    faithfulness_... and completeness_... are areas. found and area say how well the score finds
    heads (for a score of layers, layers) that are known to carry what the image says. The columns
    of a metric are its shift after training the score's top layers against the model as it is, with
    the bounds of its 95 % interval; rank_random and rank_matched are the rank of the setup's draw 0
    among draws of random layers, and of layers matched in depth, 1 being the largest shift.
    """
    rows = []
    for model, of_model in scores.items():
        reference = next(iter(of_model.values()))
        for title, score in of_model.items():
            row = {"model": model, "score": title, "unit": "head" if _by_head(score) else "layer"}
            row["passes"] = score.table["cost"].iloc[0]
            if times is not None:
                row |= _times(times, model, title)
            row |= _agreement(score, reference, of_model.get(attribution), count)
            if areas is not None:
                row |= _areas(areas, model, title)
            if known is not None:
                row |= _recovery(known, model, title, row["unit"])
            if training is not None and title in training.setup_of:
                row |= _shifts(training, model, training.setup_of[title])
            rows.append(row)
        for order in [] if areas is None else _other_orders(areas, model, of_model):
            row = {"model": model, "score": order, "unit": "order"}
            rows.append(row | _areas(areas, model, order))
        for setup in training.controls if training is not None else ():
            row = {"model": model, "score": setup, "unit": "control"}
            rows.append(row | _shifts(training, model, setup))
    return pd.DataFrame(rows)


def table6_markdown(table: pd.DataFrame) -> str:
    """Table 6 in Markdown, one table a model, columns without any value left out."""
    lines = []
    for model, rows in table.groupby("model", sort=False):
        rows = rows.drop(columns="model").dropna(axis="columns", how="all")
        bounds = [c for c in rows if c.endswith(("_low", "_high"))]
        cells = rows.drop(columns=bounds).astype(object)
        for name in [c.removesuffix("_low") for c in bounds if c.endswith("_low")]:
            cells[name] = [
                "" if np.isnan(shift) else f"{shift:+.3f} ({low:+.3f} to {high:+.3f})"
                for shift, low, high in rows[[name, f"{name}_low", f"{name}_high"]].to_numpy(float)
            ]
        cells = cells.map(_cell)
        heading = [name.replace("_", " ") for name in cells]
        lines += [f"## {model}", "", f"| {' | '.join(heading)} |", "|" + " --- |" * len(heading)]
        lines += [f"| {' | '.join(row)} |" for row in cells.to_numpy()] + [""]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return ""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.2f}"


def _by_head(score: RankedScore) -> bool:
    return score.values.ndim == 2


def _agreement(
    score: RankedScore, reference: RankedScore, attribution: RankedScore | None, count: int
) -> dict[str, float]:
    """The columns that scores alone decide."""
    layers = score.layer_values
    tops = highest(np.stack([layers, reference.layer_values]), count)
    return {
        "split_half": _rho(*scores_of_table(score.table).halves),
        "rho_reference": _rho_of_scores(score, reference),
        "rho_attribution": np.nan if attribution is None else _rho_of_scores(score, attribution),
        "rho_depth": _rho(layers, np.arange(len(layers))),
        "top_overlap": int(tops.all(0).sum()),
    }


def _rho_of_scores(a: RankedScore, b: RankedScore) -> float:
    if _by_head(a) and _by_head(b):
        return _rho(a.values, b.values)
    return _rho(a.layer_values, b.layer_values)


def _rho(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rho; nan where a value is missing or all are equal."""
    from scipy.stats import spearmanr  # The import takes half a second, and few callers need it.

    a, b = a.ravel(), b.ravel()
    if np.isnan([a, b]).any() or min(np.ptp(a), np.ptp(b)) == 0:
        return np.nan
    return float(spearmanr(a, b).statistic)


def _times(times: pd.DataFrame, model: str, title: str) -> dict[str, float]:
    rows = times[(times["model"] == model) & (times["score"] == title)]
    return rows[["seconds", "seconds_in_passes"]].iloc[0].to_dict()


def _areas(areas: pd.DataFrame, model: str, title: str) -> dict[str, float]:
    """Areas of the first variant of the ablation."""
    rows = areas[(areas["model"] == model) & (areas["score"] == title)]
    rows = rows.drop_duplicates(["outcome", "curve"]).set_index(["curve", "outcome"])["area"]
    return {
        f"{curve}_{outcome}": rows.get((curve, outcome), np.nan)
        for curve in ("faithfulness", "completeness")
        for outcome in OUTCOMES
    }


def _other_orders(areas: pd.DataFrame, model: str, scores: Mapping[str, RankedScore]) -> list[str]:
    """The orders of heads that come from no score: by depth, and at random."""
    names = areas.loc[areas["model"] == model, "score"].unique()
    return [name for name in names if name not in scores]


def _recovery(known: pd.DataFrame, model: str, title: str, unit: str) -> dict[str, float]:
    rows = known[(known["model"] == model) & (known["score"] == title) & (known["unit"] == unit)]
    return {name: rows[name].iloc[0] if len(rows) else np.nan for name in ("found", "area")}


def _shifts(training: Training, model: str, setup: str) -> dict[str, object]:
    """Shifts of a setup from the model as it is, in the study's own training, and its ranks."""
    table = training.shifts
    of_setup = table[
        (table["model"] == model)
        & (table["variant"] == "default")
        & (table["comparison"] == "original")
        & (table["setup"] == setup)
    ].set_index("metric")
    row = {"setup": setup}
    for title, name in training.metrics.items():
        columns = (name, f"{name}_low", f"{name}_high")
        row |= dict(zip(columns, of_setup.loc[title, ["shift", "low", "high"]], strict=True))
    ranks = training.ranks
    ranks = ranks[
        (ranks["model"] == model)
        & (ranks["variant"] == "default")
        & (ranks["setup"] == setup)
        & (ranks["metric"] == training.ranked)
    ]
    for rank in ranks.itertuples():
        target = training.drawn[rank.against]
        if target in (None, setup):
            column = "rank_random" if target is None else "rank_matched"
            row[column] = f"{1 + rank.at_least_as_large} of {1 + rank.draws}"
    return row
