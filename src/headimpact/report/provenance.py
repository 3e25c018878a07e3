"""Collects what the results of a study depend on: versions, checkpoints, seeds, machines."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headimpact import artifacts
from headimpact.artifacts import file_sha256
from headimpact.guards import UserError
from headimpact.report.job_times import read_benchmarks


def gather(folder: str | Path, study: dict[str, Any], downloads: dict[str, str]) -> dict[str, Any]:
    """The content of provenance.json for the results of a study.

    folder: results/NAME. study: the resolved configuration. downloads: {name: hash or commit}.
    Versions, checkpoints and machines are those that the jobs recorded in their files; where the
    records differ, all values are listed. Damaged files are listed with their error.
    """
    folder = Path(folder)
    records, damaged = {}, {}
    for path in sorted(folder.rglob("*.parquet")):
        name = str(path.relative_to(folder))
        try:
            artifacts.check_pages(path)
            records[name] = artifacts.provenance(path)
        except UserError as error:
            damaged[name] = str(error)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    results = [path for path in files if _is_result(path.relative_to(folder))]
    return {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "configuration": study,
        "seeds": _seeds(study),
        "versions": _merge(record.get("versions", {}) for record in records.values()),
        "machines": _merge(record.get("machine", {}) for record in records.values()),
        "checkpoints": _checkpoints(records.values()),
        "data": {"downloads": downloads, **_describe_images(folder / "samples.parquet", damaged)},
        "rules": read_benchmarks(folder / "benchmarks"),
        "code": {name: record["code"] for name, record in records.items() if "code" in record},
        "files": {str(path.relative_to(folder)): file_sha256(path) for path in results},
        "damaged": damaged,
    }


def _is_result(path: Path) -> bool:
    """Whether the hash of the file is recorded: tables, figures and adapters."""
    excluded = {"logs", "benchmarks", "dataset", "features", "epochs", "release"} & set(path.parts)
    return not excluded and path.suffix in (".parquet", ".csv", ".md", ".svg", ".safetensors")


def _seeds(configuration: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{dotted key: value} of every seed in the configuration."""
    seeds = {}
    for key, value in configuration.items():
        if isinstance(value, dict):
            seeds |= _seeds(value, f"{prefix}{key}.")
        elif key.endswith("seed"):
            seeds[f"{prefix}{key}"] = value
    return seeds


def _merge(records: Iterable[dict]) -> dict:
    """{key: its value in the records, or a list of the values if they differ}."""
    merged = {}
    for record in records:
        for key, value in record.items():
            if value not in merged.setdefault(key, []):
                merged[key].append(value)
    return {key: value[0] if len(value) == 1 else value for key, value in merged.items()}


def _checkpoints(records: Iterable[dict]) -> list[dict]:
    """The different checkpoints in the records, with commit or digest, dtype and device."""
    checkpoints = []
    for record in records:
        for entry in record.values():
            if isinstance(entry, dict) and "checkpoint" in entry and entry not in checkpoints:
                checkpoints.append(entry)
    return checkpoints


def _describe_images(path: Path, damaged: dict[str, str]) -> dict[str, Any]:
    """The number of images in the study, and a hash of the hashes of their files."""
    if not path.is_file() or path.name in damaged:
        return {}
    samples = artifacts.read(path, "samples")
    combined = hashlib.sha256("".join(samples["sha256"].dropna()).encode())
    return {"images": len(samples), "sha256": combined.hexdigest()}
