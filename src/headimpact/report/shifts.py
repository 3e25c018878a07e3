"""Paired shifts between fine-tuning setups on the same test items, behind the marks of Table 4."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from headimpact.evaluation.metrics import Metric
from headimpact.paired import holm, paired_difference, sign_flip_p
from headimpact.report.table4 import Answers, match_items

# (comparison, setup, draw, against, values, values of `against`); the values are float (draws,
# items) each, and draw is None where all draws of the setup are compared.
Comparison = tuple[str, str, int | None, str, np.ndarray, np.ndarray]

SHIFT_COLUMNS = [
    *("model", "variant", "metric", "unit"),
    *("comparison", "setup", "draw", "layers", "against"),
    *("shift", "standard_error", "low", "high", "p_value", "p_holm"),
    *("draws", "against_draws", "images", "items"),
]
RANK_COLUMNS = [
    *("model", "variant", "metric", "setup", "against"),
    *("draws", "distinct_layers", "at_least_as_large", "rank", "p_value"),
]
CORRECTED = ("original", "top")  # the comparisons that Holm's correction counts
LEAST_DISTINCT = 19  # layer sets from which a rank can be a p-value of 0.05


def table4_shifts(
    answers: Answers,
    metrics: dict[str, Metric],
    layers: dict[str, dict[tuple[str, int], list[int]]],
    top_setups: Sequence[str],
) -> pd.DataFrame:
    """A row for each model, variant, metric and comparison of two setups on the same items.

    answers: as in `table4.table4_draws`. layers: {title: {(setup, draw): trained layers}}.
    top_setups: the setups that are compared with every other.

    The column `comparison` says what a row is:
    "original": the mean over draws of a trained setup, against the model as it is.
    "top": the mean over draws of a setup of `top_setups`, against that of another trained setup.
    "largest": the setup with the largest absolute shift from `original`, against the runner-up;
    `shift` is the difference of the absolute shifts. Setups that shift alike are found to differ
    no more often than the level of the test says, although the same data choose the two: of
    several, the largest two lie closer together than any two.
    "draw": one draw of a setup with several, against the model as it is.

    `shift` is the mean over items of the differences of `Metric.of_items`, so that of perplexity
    is one of logarithms. low and high are the 95 % interval of `paired.paired_difference`, over
    images and draws. p_value is from `paired.sign_flip_p`: it is about images, with the draws as
    they are. p_holm corrects it over the rows "original" and "top" of a model, variant and metric,
    and is null in the others. draw is null for means over draws, and `layers` where draws differ
    in their layers. Raises UserError if two runs of a model have different test items.
    """
    rows = []
    for title, unmatched in answers.items():
        runs = match_items(title, unmatched)
        for variant in dict.fromkeys(variant for _, variant, _ in runs):
            rows += _variant_rows(title, variant, runs, metrics, layers[title], top_setups)
    table = pd.DataFrame(rows, columns=SHIFT_COLUMNS).astype({"draw": "Int64"})
    corrected = table[table["comparison"].isin(CORRECTED)]
    families = corrected.groupby(["model", "variant", "metric"])["p_value"]
    table["p_holm"] = families.transform(holm)
    return table


def _variant_rows(
    title: str,
    variant: str,
    runs: dict[tuple[str, str, int], pd.DataFrame],
    metrics: dict[str, Metric],
    layers: dict[tuple[str, int], list[int]],
    top_setups: Sequence[str],
) -> list[dict]:
    """The rows of a model and variant. The model as it is has the variant `default` alone."""
    used = {
        (setup, draw): items
        for (setup, run_variant, draw), items in sorted(runs.items(), key=lambda run: run[0][2])
        if run_variant == variant or setup == "original"
    }
    setups = [setup for setup in dict.fromkeys(s for s, _, _ in runs) if (setup, 0) in used]
    images = next(iter(used.values()))["sample_id"]
    rows, differences = [], []
    for metric in metrics.values():
        values = {
            setup: np.array(
                [metric.of_items(items) for (s, _), items in used.items() if s == setup]
            )
            for setup in setups
        }
        for comparison, setup, draw, against, ours, theirs in _comparisons(values, top_setups):
            result = paired_difference(ours, theirs, images)
            differences.append(ours.mean(0) - theirs.mean(0))
            rows.append(
                {
                    "model": title,
                    "variant": variant,
                    "metric": metric.title,
                    "unit": metric.unit,
                    "comparison": comparison,
                    "setup": setup,
                    "draw": draw,
                    "layers": _layers_text(layers, setup, draw),
                    "against": against,
                    "shift": result.difference,
                    "standard_error": result.standard_error,
                    "low": result.low,
                    "high": result.high,
                    "draws": len(ours),
                    "against_draws": len(theirs),
                    "images": images.nunique(),
                    "items": len(images),
                }
            )
    if rows:
        # All comparisons share the flips, which saves most of the time.
        p_values = sign_flip_p(np.stack(differences, axis=1), images)
        rows = [row | {"p_value": p} for row, p in zip(rows, p_values, strict=True)]
    return rows


def _layers_text(
    layers: dict[tuple[str, int], list[int]], setup: str, draw: int | None
) -> str | None:
    """The layers of a draw, or of all draws of a setup; None if these differ."""
    texts = {
        ", ".join(map(str, chosen))
        for (name, number), chosen in layers.items()
        if name == setup and draw in (None, number)
    }
    return texts.pop() if len(texts) == 1 else None


def _comparisons(values: dict[str, np.ndarray], top_setups: Sequence[str]) -> Iterator[Comparison]:
    """The comparisons of `table4_shifts`; values: {setup: float (draws, items)} of a metric."""
    trained = [setup for setup in values if setup != "original"]
    tops = [setup for setup in top_setups if setup in trained]
    if "original" in values:
        original = values["original"]
        for setup in trained:
            yield "original", setup, None, "original", values[setup], original
    for number, top in enumerate(tops):
        for other in trained:
            if other not in tops[: number + 1]:  # two top setups are compared once
                yield "top", top, None, other, values[top], values[other]
    if "original" not in values:
        return
    shifts = {setup: values[setup] - original.mean(0) for setup in trained}
    largest = sorted(trained, key=lambda setup: -abs(shifts[setup].mean()))[:2]
    if len(largest) == 2:
        absolute = [np.copysign(1, shifts[setup].mean()) * shifts[setup] for setup in largest]
        yield "largest", largest[0], None, largest[1], *absolute
    for setup in trained:
        if len(values[setup]) > 1:
            for draw, of_draw in enumerate(values[setup]):
                yield "draw", setup, draw, "original", of_draw[None], original


def top_ranks(shifts: pd.DataFrame, ranked: Iterable[tuple[str, str, bool]]) -> pd.DataFrame:
    """The rank of each top setup among the draws of each setup whose layers are drawn at random.

    shifts: what `table4_shifts` returns. ranked: (top setup, drawn setup, whether the draws are a
    null for the top setup), as in `study.plan.Plan.ranked_setups`.

    rank is (1 + at_least_as_large) / (1 + draws): at_least_as_large counts the draws whose
    absolute shift from `original` is no smaller than the top's. The top's draw 0 is used, and not
    the mean of its draws, because a mean is less noisy than the draws that it is compared with.
    p_value is the rank where the draws are a null and have 19 or more different sets of layers,
    and null elsewhere: draws of the same layers tell training seeds apart, and no layers.
    """
    is_mean_of_one = (shifts["comparison"] == "original") & (shifts["draws"] == 1)
    single = shifts[(shifts["comparison"] == "draw") | is_mean_of_one]
    ranked, rows = list(ranked), []
    for (model, variant, metric), group in single.groupby(
        ["model", "variant", "metric"], sort=False
    ):
        for top, drawn, is_null in ranked:
            top_shifts = group.loc[group["setup"] == top, "shift"].abs()
            draws = group[group["setup"] == drawn]
            if top_shifts.empty or draws.empty:
                continue
            # Equal shifts may differ in the last bits, and ties count so that p is valid.
            larger = int((draws["shift"].abs() >= top_shifts.iloc[0] - 1e-9).sum())
            rank, distinct = (1 + larger) / (1 + len(draws)), draws["layers"].nunique()
            p_value = rank if is_null and distinct >= LEAST_DISTINCT else None
            row = (model, variant, metric, top, drawn, len(draws), distinct, larger, rank, p_value)
            rows.append(dict(zip(RANK_COLUMNS, row, strict=True)))
    return pd.DataFrame(rows, columns=RANK_COLUMNS)


def shifts_markdown(shifts: pd.DataFrame, ranks: pd.DataFrame, metrics: dict[str, Metric]) -> str:
    """A table for each model of its comparisons with `original` and of top setups, and the ranks.

    shifts, ranks: what `table4_shifts` and `top_ranks` return. A setup of another variant than
    `default` has the variant's name in brackets. Returns Markdown.
    """
    headings = {metric.title: metric.shift_heading for metric in metrics.values()}
    lines = [
        "A shift is the mean difference on the same test items, averaged over draws. Its 95 % "
        "interval is over images, and over draws where a setup has several. p is from sign flips "
        "of images, with the draws as they are, and corrected by Holm over the rows of a metric.",
    ]
    for model, rows in shifts[shifts["comparison"].isin(CORRECTED)].groupby("model", sort=False):
        lines += ["", f"## {model}", "", *_heading("metric", "setup", "shift", "p (Holm)")]
        for row in rows.itertuples():
            interval = f"{_signed(row.low)} to {_signed(row.high)}"
            setups = f"{_setup_name(row)} against {row.against}"
            cells = [headings[row.metric], setups, f"{_signed(row.shift)} ({interval})"]
            lines.append(_row(*cells, _p_text(row.p_holm)))
    if not ranks.empty:
        lines += [
            "",
            "## Rank of top layers among random draws",
            "",
            "Rank 1 is the largest absolute shift from original. The rank is a p-value only among "
            "draws from all layers, or matched to the setup's, with at least "
            f"{LEAST_DISTINCT} different sets of layers.",
            "",
            *_heading("model", "metric", "setup", "rank", "different layers", "p"),
        ]
    for row in ranks.itertuples():
        place = f"{1 + row.at_least_as_large} of {1 + row.draws} among {row.against}'s draws"
        cells = [row.model, headings[row.metric], _setup_name(row), place, row.distinct_layers]
        lines.append(_row(*cells, _p_text(row.p_value)))
    return "\n".join(lines) + "\n"


def _heading(*names: str) -> list[str]:
    return [_row(*names), "|" + " --- |" * len(names)]


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _setup_name(row) -> str:
    return row.setup if row.variant == "default" else f"{row.setup} ({row.variant})"


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # Adding 0 makes +0.000 of -0.000.


def _p_text(p_value: float | None) -> str:
    if p_value is None or np.isnan(p_value):
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
