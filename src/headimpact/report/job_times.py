"""How long jobs took, from the files that Snakemake wrote."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd


def read_benchmarks(folder: str | Path) -> dict[str, dict[str, float | None]]:
    """{job: its seconds and peak memory}; None where a job was too short to measure."""
    benchmarks = {}
    for path in sorted(Path(folder).glob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                benchmarks[path.stem] = {
                    "seconds": _to_number(row["s"]),
                    "peak_mb": _to_number(row["max_rss"]),
                }
    return benchmarks


def score_times(
    benchmarks: Mapping[str, Mapping[str, float | None]],
    jobs: Mapping[str, Mapping[str, Iterable[str]]],
    attention: Mapping[str, Iterable[str]],
    images: int,
) -> pd.DataFrame:
    """What each score took, in seconds and in the seconds that its model takes for an image.

    benchmarks: as of `read_benchmarks`. jobs: {model: {score: jobs that it comes from}}; a job that
    several scores share counts for each. attention: {model: jobs that run it once on `images`
    images}. Seconds are those of whole jobs, with their start and the loading of the model; nan
    where a job's time is not known. Columns: model, score, seconds, seconds_in_passes.
    """
    rows = []
    for model, scores in jobs.items():
        plain_pass = _seconds(benchmarks, attention[model]) / images
        for score, names in scores.items():
            seconds = _seconds(benchmarks, names)
            rows.append((model, score, seconds, seconds / plain_pass))
    return pd.DataFrame(rows, columns=["model", "score", "seconds", "seconds_in_passes"])


def _seconds(benchmarks: Mapping[str, Mapping[str, float | None]], jobs: Iterable[str]) -> float:
    seconds = [benchmarks.get(job, {}).get("seconds") for job in jobs]
    return float("nan") if None in seconds else sum(seconds)


def _to_number(text: str) -> float | None:
    """The number; None for NA and -, which Snakemake writes if a job was too short to measure."""
    try:
        return float(text)
    except ValueError:
        return None
