"""Faults of a machine, done to a running study: nothing is lost, nothing half, one clear line."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from projects import Project, tiny
from safetensors.torch import load_file, save_file

MODEL = "qwen2_vl"
STUDY = "results/tiny"
RUN = f"{STUDY}/{MODEL}/top-2/default/0"
TARGETS = ("results/table4.csv", f"{STUDY}/table2.csv")
COMMAND = ("--cores", "2", *TARGETS)


@pytest.fixture(scope="module")
def config(checkpoints):
    """One model, one training, of many short epochs."""
    told = tiny(checkpoints, MODEL)
    study = told["studies"]["tiny"]
    study["setups"].pop("random-2")
    study["training"]["epochs"] = 25
    study["attention"] = {"shards": 2}
    return told


@pytest.fixture(scope="module")
def whole(project, config):
    """The study without any fault."""
    made = project(config)
    made.output = made.run(*TARGETS)
    return made


def tables(project):
    return {target: (project.folder / target).read_bytes() for target in TARGETS}


def finished_jobs(output):
    return Counter(re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", output))


def wait(run, there):
    """Until `there()` is true of a run that still goes on."""
    while not there():
        assert run.poll() is None, "the run ended before the fault could be done to it"
        time.sleep(0.005)


def kill(run):
    """Snakemake and all its jobs, at once and without a word."""
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def written(path):
    return lambda: path.is_file() and path.stat().st_size > 0


POINTS = {
    "while images are annotated": f"{STUDY}/logs/annotate.instances.0.log",
    "while a model's attention is read": f"{STUDY}/logs/{MODEL}.attention.1.log",
    "between two epochs": f"{RUN}/epochs/*/state.safetensors",
    "while a model is evaluated": f"{STUDY}/logs/{MODEL}.evaluate.top-2.default.0.log",
    "while a table is written": f"{STUDY}/logs/table4.log",
}


def test_a_study_killed_at_five_points_is_the_same_study(project, config, whole):
    """Each time the same two commands go on; no job that had finished runs again."""
    made, outputs = project(config), []
    for place in POINTS.values():
        run = made.start(*COMMAND)
        wait(run, lambda place=place: any(made.folder.glob(place)))
        kill(run)
        outputs.append((made.folder / "output.txt").read_text())
        assert made.snakemake("--unlock").returncode == 0
    outputs.append(made.run(*TARGETS))
    assert sum(map(finished_jobs, outputs), Counter()) == finished_jobs(whole.output)
    # no fault came too late: each time something was left to do
    assert all(finished_jobs(output) for output in outputs[1:])
    assert tables(made) == tables(whole)


def test_a_training_told_to_end_goes_on_from_its_last_epoch(project, config, whole):
    """As a cluster's time limit does: SIGTERM to the job alone."""
    made = project(config)
    made.run(f"{STUDY}/{MODEL}/scores/head_impact.parquet", f"{STUDY}/{MODEL}/features.json")
    run = made.start(*COMMAND)
    wait(run, lambda: any(made.folder.glob(f"{RUN}/epochs/*/state.safetensors")))
    os.kill(process(made, "finetune.py"), signal.SIGTERM)
    assert run.wait() != 0
    assert "Error in rule finetune" in (made.folder / "output.txt").read_text()
    assert not (made.folder / RUN / "adapter").exists()
    log = made.folder / f"{STUDY}/logs/{MODEL}.finetune.top-2.default.0.log"
    first = re.findall(r"epoch (\d+): 100%", log.read_text())
    made.run(*TARGETS)
    second = re.findall(r"epoch (\d+): 100%", log.read_text())
    assert first[0] == "1" and second[-1] == "25"
    assert 1 < int(second[0]) <= int(first[-1]) + 1, "it goes on where it was, not at the start"
    ours, theirs = (
        load_file(one.folder / RUN / "adapter/adapter_model.safetensors") for one in (made, whole)
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert tables(made) == tables(whole)
    assert not (made.folder / RUN / "epochs").exists()


def process(project, script):
    """The process that runs a rule's script in that project."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            here = (path / "cwd").resolve() == project.folder.resolve()
        except OSError:
            continue
        if here and any(word.endswith(script) for word in words):
            return int(path.name)
    raise AssertionError(f"no process runs {script}")


def test_a_second_run_in_the_same_folder_leaves_the_first_alone(project, config, whole):
    made, command = project(config), ("--cores", "2", TARGETS[1])
    run = made.start(*command)
    wait(run, written(made.folder / f"{STUDY}/logs/annotate.instances.0.log"))
    second = made.snakemake(*command)
    assert second.returncode != 0
    assert "Finished job" not in second.stdout + second.stderr
    assert "Directory cannot be locked" in second.stdout + second.stderr
    assert run.wait() == 0
    assert (made.folder / TARGETS[1]).read_bytes() == (whole.folder / TARGETS[1]).read_bytes()


@pytest.fixture
def small_disk(project, config):
    """A project whose results lie on a disk of a few megabytes, and who fills it."""
    made = project(config)
    results = made.folder / "results"
    results.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", results], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")

    def fill(left):
        room = shutil.disk_usage(results).free
        (results / "filler").write_bytes(b"0" * (room - left))

    yield made, fill
    subprocess.run(["umount", "-l", results], check=True)


@pytest.mark.parametrize(
    ("before", "target", "left"),
    [
        # a parquet file, the state of a training, a table, and not even room for a log's first line
        (f"{STUDY}/samples.parquet", f"{STUDY}/{MODEL}/attention/0.parquet", 8192),
        (f"{STUDY}/{MODEL}/scores/head_impact.parquet", f"{RUN}/history.json", 65536),
        (f"{STUDY}/{MODEL}/scores/head_impact.parquet", f"{STUDY}/table2.csv", 0),
    ],
    ids=["parquet", "state", "table"],
)
def test_a_full_disk_is_told_and_nothing_half_is_left(small_disk, whole, before, target, left):
    made, fill = small_disk
    made.run(before)
    fill(left)
    done = made.snakemake("--cores", "2", target)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert re.search(r"^\w+: no room on the disk for results/tiny/.*; make room, and", output, re.M)
    assert "Traceback" not in output, output
    assert not (made.folder / target).exists()
    assert not list(made.folder.rglob("*.partial"))
    (made.folder / "results/filler").unlink()
    made.run(target)
    assert (made.folder / target).read_bytes() == (whole.folder / target).read_bytes()


@pytest.fixture
def copied(whole, tmp_path):
    """The finished study in another folder, for a test to damage."""
    shutil.copytree(whole.folder, tmp_path / "copy", symlinks=True)
    made = Project.__new__(Project)
    made.__dict__.update(whole.__dict__)
    made.folder = tmp_path / "copy"
    return made


def flip(path):
    """One bit in its middle; of a table in a page's last byte, since footers are not covered."""
    content = bytearray(path.read_bytes())
    place = len(content) // 2
    if path.suffix == ".parquet":
        column = pq.read_metadata(path).row_group(0).column(0)
        start = column.dictionary_page_offset or column.data_page_offset
        place = start + column.total_compressed_size - 1
    content[place] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("damage", [flip, cut])
@pytest.mark.parametrize(
    ("file", "reader", "says"),
    [
        ("samples.parquet", "tokens", "samples.parquet: damaged"),
        (f"{MODEL}/attention/1.parquet", "score", "attention/1.parquet: damaged"),
        (f"{MODEL}/top-2/default/0/answers.parquet", "table4", "answers.parquet: damaged"),
        (f"{MODEL}/top-2/default/0/adapter/*.safetensors", "evaluate", "adapter: "),
        ("dataset/scenes/*.png", "annotate", "dataset/scenes/"),
    ],
)
def test_a_damaged_file_is_named_and_no_table_made_of_it(copied, file, reader, says, damage):
    path = sorted((copied.folder / STUDY).glob(file))[0]
    damage(path)
    # whatever the file's time says, once it is read
    done = copied.snakemake("--cores", "2", "--forcerun", reader, "--", *TARGETS)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    told = [line for line in output.splitlines() if says in line]
    assert told and all("run again" in line for line in told), output
    assert "Traceback" not in output, output


def test_a_checkpoint_that_is_not_its_maker_s_ends_its_jobs(project, checkpoints, tmp_path):
    shutil.copytree(Path(__file__).parents[2] / "resources/miniature" / MODEL, tmp_path / MODEL)
    flip(tmp_path / MODEL / "model.safetensors")
    made = project(tiny(tmp_path, MODEL))
    done = made.snakemake("--cores", "2", f"{STUDY}/{MODEL}/scores/head_impact.parquet")
    assert done.returncode != 0
    assert f"{MODEL}/model.safetensors: its SHA-256" in done.stdout + done.stderr


def test_attention_that_is_not_finite_names_sample_and_layer(project, checkpoints, tmp_path):
    shutil.copytree(checkpoints / MODEL, tmp_path / MODEL)
    path = tmp_path / MODEL / "model.safetensors"
    weights = load_file(path)
    (name,) = [
        n for n in weights if n.endswith("layers.5.self_attn.q_proj.weight") and "vis" not in n
    ]
    weights[name][0, 0] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})
    made = project(tiny(tmp_path, MODEL))
    done = made.snakemake("--cores", "2", f"{STUDY}/{MODEL}/scores/head_impact.parquet")
    output = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in output
    assert re.search(
        r"^attention: sample \d+ \(\w+\.png\): attention in layer 5 is not finite", output, re.M
    )
