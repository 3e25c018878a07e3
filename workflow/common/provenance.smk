# What each run leaves beside its results: provenance.json of every study that it worked on.

import csv
import json
import subprocess
import time
from shutil import which

STARTED = time.time()


def hashes_of_downloads(study):
    """What of the study's data was downloaded (dict name: md5 or commit)."""
    hashes = {}
    if study.downloads_coco:
        with open("resources/downloads.csv", encoding="utf-8", newline="") as file:
            hashes |= {row["path"]: row["md5"] for row in csv.DictReader(file)}
    if study.annotators_that_need("release") and study.annotator.options["release"] is None:
        hashes["release"] = CONFIG.downloads.release_commit
    return hashes


def write_provenance():
    """For the studies whose jobs ran just now; others may have been made by another config.yaml."""
    from headimpact.report.provenance import gather  # imports pyarrow

    describe = ["git", "-C", workflow.basedir, "describe", "--always", "--dirty"]
    done = subprocess.run(describe, capture_output=True, text=True) if which("git") else None
    commit = done.stdout.strip() if done and done.returncode == 0 else None
    for name, study in CONFIG.studies.items():
        folder = Path("results", name)
        logs = folder.glob("logs/*.log")
        if not any(log.stat().st_mtime >= STARTED for log in logs):
            continue
        record = gather(folder, study.model_dump(mode="json"), hashes_of_downloads(study))
        text = json.dumps({"study": name, "commit": commit, **record}, indent=1, ensure_ascii=False)
        try:
            (folder / "provenance.json").write_text(text, encoding="utf-8")
        except OSError as error:
            print(f"{folder}/provenance.json: not written ({error.strerror})", file=sys.stderr)


def report_study():
    """The last lines of a run: whose study the tables are of, and which makes the paper's."""
    made = [name for name in CONFIG.studies if any(Path(f"results/{name}").glob("table*.csv"))]
    lines = [f"results/{name}/ is the study {name}: {CONFIG.studies[name].title}." for name in made]
    if any(Path("results").glob("table*.csv")):
        lines.append(f"The tables in results/ are copies of the study {CONFIG.default_study}'s.")
    if lines and "paper" in CONFIG.studies:
        lines.append("The paper's: snakemake --cores 4 results/paper/table4.csv")
    if lines:
        print("", *lines, sep="\n", file=sys.stderr)
