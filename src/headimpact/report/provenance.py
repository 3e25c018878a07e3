"""What a study's results rest on: versions, checkpoints, images, seeds, devices, time, memory."""

import csv
import hashlib
from datetime import UTC, datetime
from pathlib import Path

from headimpact import artifacts
from headimpact.artifacts import file_sha256
from headimpact.guards import UserError


def gather(folder, study, downloads):
    """All that tells how the results in `folder` came about (dict), for provenance.json.

    folder: results/NAME. study: its configuration, as resolved. downloads: {what is fetched:
    its hash or commit}. Read from the files that are there: versions, checkpoints and machines
    are those recorded by the jobs that wrote them, each in all values that occur.
    """
    folder = Path(folder)
    records, broken = {}, {}
    for path in sorted(folder.rglob("*.parquet")):
        name = str(path.relative_to(folder))
        try:
            artifacts.check_pages(path)
            records[name] = artifacts.provenance(path)
        except UserError as error:
            broken[name] = str(error)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    results = [path for path in files if _result(path.relative_to(folder))]
    return {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "configuration": study,
        "seeds": _seeds(study),
        "versions": _values(record.get("versions", {}) for record in records.values()),
        "machines": _values(record.get("machine", {}) for record in records.values()),
        "checkpoints": _checkpoints(records.values()),
        "data": {"downloads": downloads, **_images(folder / "samples.parquet", broken)},
        "rules": _benchmarks(folder / "benchmarks"),
        "code": {name: record["code"] for name, record in records.items() if "code" in record},
        "files": {str(path.relative_to(folder)): file_sha256(path) for path in results},
        "damaged": broken,
    }


def _result(path):
    """Whether a file is a result of which the hash is kept: tables, figures, adapters."""
    inside = {"logs", "benchmarks", "dataset", "features", "epochs", "release"} & set(path.parts)
    return not inside and path.suffix in (".parquet", ".csv", ".md", ".svg", ".safetensors")


def _seeds(told, where=""):
    """Every key of the configuration that is a seed, dotted."""
    found = {}
    for key, value in told.items():
        if isinstance(value, dict):
            found |= _seeds(value, f"{where}{key}.")
        elif key.endswith("seed"):
            found[f"{where}{key}"] = value
    return found


def _values(records):
    """{key: its value, or a list of those that occur}."""
    found = {}
    for record in records:
        for key, value in record.items():
            if value not in found.setdefault(key, []):
                found[key].append(value)
    return {key: value[0] if len(value) == 1 else value for key, value in found.items()}


def _checkpoints(records):
    """Each checkpoint that a job used, with its commit or digest, dtype and device; once."""
    found = []
    for record in records:
        for told in record.values():
            if isinstance(told, dict) and "checkpoint" in told and told not in found:
                found.append(told)
    return found


def _images(path, broken):
    """How many images entered the study, and one hash over their files' own."""
    if not path.is_file() or path.name in broken:
        return {}
    samples = artifacts.read(path, "samples")
    whole = hashlib.sha256("".join(samples["sha256"].dropna()).encode())
    return {"images": len(samples), "sha256": whole.hexdigest()}


def _benchmarks(folder):
    """{job: seconds and peak memory}, as Snakemake measured them."""
    found = {}
    for path in sorted(folder.glob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                found[path.stem] = {
                    "seconds": _number(row["s"]),
                    "peak_mb": _number(row["max_rss"]),
                }
    return found


def _number(text):
    """Snakemake writes NA or - where a job was too short to be measured."""
    try:
        return float(text)
    except ValueError:
        return None
