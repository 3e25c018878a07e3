# What each run leaves beside its results: provenance.json of every study that it worked on.

import csv
import json
import subprocess
import time

STARTED = time.time()


def hashes_of_downloads(study):
    """What of the study's data was downloaded (dict name: md5 or commit)."""
    found = {}
    if study["dataset"]["kind"] == "coco" and study["dataset"]["root"] is None:
        with open("resources/downloads.csv", encoding="utf-8", newline="") as file:
            found |= {row["path"]: row["md5"] for row in csv.DictReader(file)}
    if "release" in annotators(study).values() and study["annotator"]["release"] is None:
        found["release"] = config["downloads"]["release_commit"]
    return found


def write_provenance():
    """For the studies whose jobs ran just now; others may have been made by another config.yaml."""
    from headimpact.report.provenance import gather  # pyarrow, that the run's end alone needs

    describe = ["git", "-C", workflow.basedir, "describe", "--always", "--dirty"]
    done = subprocess.run(describe, capture_output=True, text=True) if which("git") else None
    commit = done.stdout.strip() if done and done.returncode == 0 else None
    for name in STUDIES:
        folder = Path("results", name)
        logs = folder.glob("logs/*.log")
        if not any(log.stat().st_mtime >= STARTED for log in logs):
            continue
        told = gather(folder, STUDIES[name], hashes_of_downloads(STUDIES[name]))
        told = {"study": name, "commit": commit, **told}
        text = json.dumps(told, indent=1, ensure_ascii=False)
        try:
            (folder / "provenance.json").write_text(text, encoding="utf-8")
        except OSError as error:
            print(f"{folder}/provenance.json: not written ({error.strerror})", file=sys.stderr)
