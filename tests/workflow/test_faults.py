"""A running study is killed, fills the disk or reads damaged files, and loses no result."""

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
    """A study of one model and one training, which has many short epochs."""
    config = tiny(checkpoints, MODEL)
    study = config["studies"]["tiny"]
    study["setups"].pop("random-2")
    study["training"]["epochs"] = 25
    study["attention"] = {"shards": 2}
    return config


@pytest.fixture(scope="module")
def undisturbed(project, config):
    """The study, run without any fault."""
    workflow = project(config)
    workflow.output = workflow.run(*TARGETS)
    return workflow


def tables(project):
    return {target: (project.folder / target).read_bytes() for target in TARGETS}


def finished_jobs(output):
    return Counter(re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", output))


def wait_for(run, condition):
    """Wait until `condition()` is true; fail if the run ends before that."""
    while not condition():
        assert run.poll() is None, "the run ended before the test could disturb it"
        time.sleep(0.005)


def kill(run):
    """Send SIGKILL to Snakemake and all its jobs."""
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def has_content(path):
    """A condition: `path` is a file that is not empty."""
    return lambda: path.is_file() and path.stat().st_size > 0


POINTS = {
    "while images are annotated": f"{STUDY}/logs/annotate.instances.0.log",
    "while a model's attention is read": f"{STUDY}/logs/{MODEL}.attention.1.log",
    "between two epochs": f"{RUN}/epochs/*/state.safetensors",
    "while a model is evaluated": f"{STUDY}/logs/{MODEL}.evaluate.top-2.default.0.log",
    "while a table is written": f"{STUDY}/logs/table4.log",
}


def test_a_study_killed_at_five_points_gives_the_same_tables(project, config, undisturbed):
    """Unlocking and running again continues the study, and no finished job runs again."""
    workflow, outputs = project(config), []
    for pattern in POINTS.values():
        run = workflow.start(*COMMAND)
        wait_for(run, lambda pattern=pattern: any(workflow.folder.glob(pattern)))
        kill(run)
        outputs.append((workflow.folder / "output.txt").read_text())
        assert workflow.snakemake("--unlock").returncode == 0
    outputs.append(workflow.run(*TARGETS))
    assert sum(map(finished_jobs, outputs), Counter()) == finished_jobs(undisturbed.output)
    # each kill came while jobs were left to run
    assert all(finished_jobs(output) for output in outputs[1:])
    assert tables(workflow) == tables(undisturbed)


def test_a_training_ended_by_sigterm_continues_from_its_last_epoch(project, config, undisturbed):
    """Only the job gets SIGTERM, as at a cluster's time limit."""
    workflow = project(config)
    workflow.run(f"{STUDY}/{MODEL}/scores/head_impact.parquet", f"{STUDY}/{MODEL}/features.json")
    run = workflow.start(*COMMAND)
    wait_for(run, lambda: any(workflow.folder.glob(f"{RUN}/epochs/*/state.safetensors")))
    os.kill(process_id(workflow, "finetune.py"), signal.SIGTERM)
    assert run.wait() != 0
    assert "Error in rule finetune" in (workflow.folder / "output.txt").read_text()
    assert not (workflow.folder / RUN / "adapter").exists()
    log = workflow.folder / f"{STUDY}/logs/{MODEL}.finetune.top-2.default.0.log"
    first = re.findall(r"epoch (\d+): 100%", log.read_text())
    workflow.run(*TARGETS)
    second = re.findall(r"epoch (\d+): 100%", log.read_text())
    assert first[0] == "1" and second[-1] == "25"
    assert 1 < int(second[0]) <= int(first[-1]) + 1, (
        "it continues after the saved epoch, not from the first"
    )
    resumed, expected = (
        load_file(project.folder / RUN / "adapter/adapter_model.safetensors")
        for project in (workflow, undisturbed)
    )
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.items())
    assert tables(workflow) == tables(undisturbed)
    assert not (workflow.folder / RUN / "epochs").exists()


def process_id(project, script):
    """The id of the process that runs `script` in the project's folder."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            in_project = (path / "cwd").resolve() == project.folder.resolve()
        except OSError:
            continue
        if in_project and any(word.endswith(script) for word in words):
            return int(path.name)
    raise AssertionError(f"no process runs {script}")


def test_a_second_run_in_the_same_folder_leaves_the_first_alone(project, config, undisturbed):
    workflow, command = project(config), ("--cores", "2", TARGETS[1])
    run = workflow.start(*command)
    wait_for(run, has_content(workflow.folder / f"{STUDY}/logs/annotate.instances.0.log"))
    second = workflow.snakemake(*command)
    assert second.returncode != 0
    assert "Finished job" not in second.stdout + second.stderr
    assert "Directory cannot be locked" in second.stdout + second.stderr
    assert run.wait() == 0
    assert (workflow.folder / TARGETS[1]).read_bytes() == (
        undisturbed.folder / TARGETS[1]
    ).read_bytes()


@pytest.fixture
def small_disk(project, config):
    """A project whose results are on a disk of 16 MB, and a function that fills the disk."""
    workflow = project(config)
    results = workflow.folder / "results"
    results.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", results], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")

    def fill(free_bytes):
        free = shutil.disk_usage(results).free
        (results / "filler").write_bytes(b"0" * (free - free_bytes))

    yield workflow, fill
    subprocess.run(["umount", "-l", results], check=True)


@pytest.mark.parametrize(
    ("before", "target", "free_bytes"),
    [
        # a Parquet file, the state of a training, and a table, with no room even for its log
        (f"{STUDY}/samples.parquet", f"{STUDY}/{MODEL}/attention/0.parquet", 8192),
        (f"{STUDY}/{MODEL}/scores/head_impact.parquet", f"{RUN}/history.json", 65536),
        (f"{STUDY}/{MODEL}/scores/head_impact.parquet", f"{STUDY}/table2.csv", 0),
    ],
    ids=["parquet", "state", "table"],
)
def test_a_full_disk_is_reported_and_no_partial_file_stays(
    small_disk, undisturbed, before, target, free_bytes
):
    workflow, fill = small_disk
    workflow.run(before)
    fill(free_bytes)
    result = workflow.snakemake("--cores", "2", target)
    output = result.stdout + result.stderr
    assert result.returncode != 0
    assert re.search(r"^\w+: no room on the disk for results/tiny/.*; make room, and", output, re.M)
    assert "Traceback" not in output, output
    assert not (workflow.folder / target).exists()
    assert not list(workflow.folder.rglob("*.partial"))
    (workflow.folder / "results/filler").unlink()
    workflow.run(target)
    assert (workflow.folder / target).read_bytes() == (undisturbed.folder / target).read_bytes()


@pytest.fixture
def finished_copy(undisturbed, tmp_path):
    """A copy of the finished study that a test may damage."""
    shutil.copytree(undisturbed.folder, tmp_path / "copy", symlinks=True)
    workflow = Project.__new__(Project)
    workflow.__dict__.update(undisturbed.__dict__)
    workflow.folder = tmp_path / "copy"
    return workflow


def flip_bit(path):
    """Flip a bit in the middle of a file.

    In a Parquet table the bit is in the last byte of a page: checksums do not cover the footer.
    """
    content = bytearray(path.read_bytes())
    position = len(content) // 2
    if path.suffix == ".parquet":
        column = pq.read_metadata(path).row_group(0).column(0)
        start = column.dictionary_page_offset or column.data_page_offset
        position = start + column.total_compressed_size - 1
    content[position] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("damage", [flip_bit, truncate])
@pytest.mark.parametrize(
    ("file", "reader", "message"),
    [
        ("samples.parquet", "tokens", "samples.parquet: damaged"),
        (f"{MODEL}/attention/1.parquet", "score", "attention/1.parquet: damaged"),
        (f"{MODEL}/top-2/default/0/answers.parquet", "table4", "answers.parquet: damaged"),
        (f"{MODEL}/top-2/default/0/adapter/*.safetensors", "evaluate", "adapter: "),
        ("dataset/scenes/*.png", "annotate", "dataset/scenes/"),
    ],
)
def test_a_damaged_file_is_named_and_ends_the_run(finished_copy, file, reader, message, damage):
    path = sorted((finished_copy.folder / STUDY).glob(file))[0]
    damage(path)
    # --forcerun, because the file's time does not make the reading rule stale
    result = finished_copy.snakemake("--cores", "2", "--forcerun", reader, "--", *TARGETS)
    output = result.stdout + result.stderr
    assert result.returncode != 0
    lines = [line for line in output.splitlines() if message in line]
    remedy = "--forcerun captions images" if reader == "annotate" else "run again"
    assert lines and all(remedy in line for line in lines), output
    assert "Traceback" not in output, output


def test_a_checkpoint_with_a_wrong_sha256_ends_its_jobs(project, checkpoints, tmp_path):
    shutil.copytree(Path(__file__).parents[2] / "resources/miniature" / MODEL, tmp_path / MODEL)
    flip_bit(tmp_path / MODEL / "model.safetensors")
    workflow = project(tiny(tmp_path, MODEL))
    result = workflow.snakemake("--cores", "2", f"{STUDY}/{MODEL}/scores/head_impact.parquet")
    assert result.returncode != 0
    assert f"{MODEL}/model.safetensors: its SHA-256" in result.stdout + result.stderr


def test_attention_that_is_not_finite_names_sample_and_layer(project, checkpoints, tmp_path):
    shutil.copytree(checkpoints / MODEL, tmp_path / MODEL)
    path = tmp_path / MODEL / "model.safetensors"
    weights = load_file(path)
    (name,) = [
        n for n in weights if n.endswith("layers.5.self_attn.q_proj.weight") and "vis" not in n
    ]
    weights[name][0, 0] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})
    workflow = project(tiny(tmp_path, MODEL))
    result = workflow.snakemake("--cores", "2", f"{STUDY}/{MODEL}/scores/head_impact.parquet")
    output = result.stdout + result.stderr
    assert result.returncode != 0 and "Traceback" not in output
    assert re.search(
        r"^attention: sample \d+ \(\w+\.png\): attention in layer 5 is not finite", output, re.M
    )
