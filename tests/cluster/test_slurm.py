"""A small study through profiles/slurm on a real Slurm, beside the same one run on this machine."""

import re
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import slurm
from hub import Hub
from projects import tiny

pytestmark = pytest.mark.cluster
TABLES = ("results/table4.csv", "results/tiny/table4_draws.csv", "results/table2.csv")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if reason := slurm.missing():
        pytest.skip(reason)
    with slurm.running(tmp_path_factory.mktemp("slurm")):
        yield


@pytest.fixture(scope="module")
def fetched(project, checkpoints):
    """Makes a project of two studies, tiny and plain; their checkpoint is fetched, the hub gone."""

    def make(shards):
        told = tiny(checkpoints, "qwen2_vl")
        plain = told["studies"]["tiny"]
        plain["models"]["qwen2_vl"]["checkpoint"] = "organisation/model"
        plain["setups"]["random-2"]["draws"] = 1
        told["studies"] = {"tiny": {**plain, "device": "auto"}, "plain": plain}
        told["studies"]["tiny"].update(
            {stage: {"shards": shards} for stage in ("annotator", "attention")},
            shortcuts={"kept_features": False},
        )
        made = project(told)
        with Hub({"organisation/model": checkpoints / "qwen2_vl"}).running() as made.servers:
            made.run("fetch")
        made.servers = {}
        return made

    return make


@pytest.fixture(scope="module")
def local(fetched):
    """The study on this machine, in one shard."""
    made = fetched(1)
    made.run(*TABLES)
    return made


def cancel_one(rule, run):
    """Cancels a running job of `rule`, unless the run ends before there is one."""
    while not run.done():
        for record in slurm.records():
            if record["JobState"] == "RUNNING" and rule_of(record) == rule:
                subprocess.run(["scancel", record["JobId"]], check=True)
                return
        time.sleep(0.2)


@pytest.fixture(scope="module")
def made(cluster, fetched):
    """The study in two shards on Slurm, where all goes wrong that may.

    The features of the study plain get too little memory, and a training is cancelled.
    """
    made = fetched(2)
    path = made.folder / "profiles/slurm/config.yaml"
    text, accounts = re.subn("(slurm_account:).*", r"\1 lab", path.read_text())
    text, partitions = re.subn("(slurm_partition:).*", r"\1 tests", text)
    assert accounts == partitions == 1
    path.write_text(text)
    told = {
        "profile": "profiles/slurm",
        # this Slurm keeps no accounts, of which sacct could tell
        "slurm-status-command": "squeue",
        "slurm-init-seconds-before-status-checks": "12",
        "set-resources": "features:mem_mb=200",
        "retries": "1",
    }
    options = [f"--{name}={value}" for name, value in told.items()]
    with ThreadPoolExecutor() as pool:
        run = pool.submit(made.snakemake, *options, *TABLES, "results/plain/qwen2_vl/features.json")
        cancel_one("finetune", run)
        done = run.result()
    made.output, made.failed = done.stdout + done.stderr, done.returncode != 0
    made.jobs = slurm.records()
    return made


def rule_of(record):
    """The rule of a job, or its group and the rules in it."""
    return record["Comment"].removeprefix("rule_").split("_wildcards_")[0]


def test_all_but_tables_runs_on_slurm_and_what_fails_alone_is_tried_again(made):
    assert Counter((rule_of(job), job["JobState"]) for job in made.jobs) == {
        ("images_images_scenes", "COMPLETED"): 2,
        ("samples_annotate_instances_questions_samples", "COMPLETED"): 1,
        (
            "samples_annotate_instances_samples",
            "COMPLETED",
        ): 1,  # of the study plain, without questions
        ("attention", "COMPLETED"): 2,
        ("scores_score_tokens", "COMPLETED"): 1,
        ("features", "FAILED"): 2,
        ("finetune", "CANCELLED"): 1,
        ("finetune", "COMPLETED"): 2,
        ("evaluate", "COMPLETED"): 3,
    }, made.output


def test_a_job_over_its_memory_is_named_with_its_logs(made):
    assert made.failed
    assert "results/plain/logs/qwen2_vl.features.log" in made.output
    logs = list((made.folder / ".snakemake/slurm_logs/rule_features").rglob("*.log"))
    assert len(logs) == 2 and all(str(log) in made.output for log in logs)
    assert all("exceeded memory limit" in log.read_text() for log in logs)


def test_tables_are_those_of_a_local_run_in_one_shard(made, local):
    for table in TABLES:
        assert (made.folder / table).read_bytes() == (local.folder / table).read_bytes(), table


def test_a_heavy_job_asks_for_one_gpu_unless_its_study_does_without(made):
    heavy = {"attention", "features", "finetune", "evaluate"}
    for job in made.jobs:
        assert (job["Account"], job["Partition"]) == ("lab", "tests")
        on_gpu = rule_of(job) in heavy and "_plain_" not in job["Comment"]
        assert job.get("TresPerJob") == ("gres:gpu:1" if on_gpu else None), job


def test_shards_of_a_model_run_at_the_same_time(made):
    first, second = (job for job in made.jobs if rule_of(job) == "attention")
    assert max(first["StartTime"], second["StartTime"]) < min(first["EndTime"], second["EndTime"])


def test_no_job_needed_a_network(made):
    assert not made.connections.exists()


def test_what_is_finished_locally_is_finished_for_the_cluster(made, local):
    for project, profile in ((local, ["--profile", "profiles/slurm"]), (made, [])):
        done = project.snakemake("-n", *profile, *TABLES)
        assert "Nothing to be done" in done.stdout + done.stderr, done.stderr
