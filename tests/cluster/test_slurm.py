"""A small study through profiles/slurm on a real Slurm, compared with the study run locally."""

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
TABLES = (
    *("results/table4.csv", "results/tiny/table4_draws.csv", "results/table2.csv"),
    "results/nulls.csv",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if reason := slurm.unavailable_reason():
        pytest.skip(reason)
    with slurm.running(tmp_path_factory.mktemp("slurm")):
        yield


@pytest.fixture(scope="module")
def fetched_project(project, checkpoints):
    """Makes a project of two studies, tiny and plain, with a fetched checkpoint."""

    def make(shards):
        config = tiny(checkpoints, "qwen2_vl")
        plain = config["studies"]["tiny"]
        plain["models"]["qwen2_vl"]["checkpoint"] = "organisation/model"
        plain["setups"]["random-2"]["draws"] = 1
        config["studies"] = {"tiny": {**plain, "device": "auto"}, "plain": plain}
        config["studies"]["tiny"].update(
            {stage: {"shards": shards} for stage in ("annotator", "attention")},
            shortcuts={"kept_features": False},
        )
        workflow = project(config)
        with Hub({"organisation/model": checkpoints / "qwen2_vl"}).running() as workflow.servers:
            workflow.run("fetch")
        workflow.servers = {}
        return workflow

    return make


@pytest.fixture(scope="module")
def local(fetched_project):
    """The study on this machine, in one shard."""
    workflow = fetched_project(1)
    workflow.run(*TABLES)
    return workflow


def cancel_job(rule, run):
    """Cancels a job of `rule` as soon as it runs, unless the Snakemake run ends first."""
    while not run.done():
        for record in slurm.records():
            if record["JobState"] == "RUNNING" and rule_of(record) == rule:
                subprocess.run(["scancel", record["JobId"]], check=True)
                return
        time.sleep(0.2)


@pytest.fixture(scope="module")
def slurm_project(cluster, fetched_project):
    """The study in two shards on Slurm, with jobs that fail.

    The features of the study plain get too little memory, and a training is cancelled.
    """
    workflow = fetched_project(2)
    path = workflow.folder / "profiles/slurm/config.yaml"
    text, accounts = re.subn("(slurm_account:).*", r"\1 lab", path.read_text())
    text, partitions = re.subn("(slurm_partition:).*", r"\1 tests", text)
    assert accounts == partitions == 1
    path.write_text(text)
    settings = {
        "profile": "profiles/slurm",
        # sacct needs accounting, which this Slurm does not have
        "slurm-status-command": "squeue",
        "slurm-init-seconds-before-status-checks": "12",
        "set-resources": "features:mem_mb=200",
        "retries": "1",
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    with ThreadPoolExecutor() as pool:
        run = pool.submit(
            workflow.snakemake, *options, *TABLES, "results/plain/qwen2_vl/features.json"
        )
        cancel_job("finetune", run)
        result = run.result()
    workflow.output, workflow.failed = result.stdout + result.stderr, result.returncode != 0
    workflow.jobs = slurm.records()
    return workflow


def rule_of(record):
    """The rule of a job; for a group job, the group's name and its rules."""
    return record["Comment"].removeprefix("rule_").split("_wildcards_")[0]


def test_all_jobs_but_tables_run_on_slurm_and_only_failed_jobs_are_retried(slurm_project):
    assert Counter((rule_of(job), job["JobState"]) for job in slurm_project.jobs) == {
        ("images_images_scenes", "COMPLETED"): 2,
        ("samples_annotate_instances_questions_samples", "COMPLETED"): 1,
        (
            "samples_annotate_instances_samples",
            "COMPLETED",
        ): 1,  # of the study plain, without questions
        ("attention", "COMPLETED"): 2,
        ("scores_score_tokens", "COMPLETED"): 1,
        ("nulls_nulls_shifted_tokens", "COMPLETED"): 1,
        ("features", "FAILED"): 2,
        ("finetune", "CANCELLED"): 1,
        ("finetune", "COMPLETED"): 2,
        ("evaluate", "COMPLETED"): 3,
    }, slurm_project.output


def test_a_job_over_its_memory_is_named_with_its_logs(slurm_project):
    assert slurm_project.failed
    assert "results/plain/logs/qwen2_vl.features.log" in slurm_project.output
    logs = list((slurm_project.folder / ".snakemake/slurm_logs/rule_features").rglob("*.log"))
    assert len(logs) == 2 and all(str(log) in slurm_project.output for log in logs)
    assert all("exceeded memory limit" in log.read_text() for log in logs)


def test_tables_are_those_of_a_local_run_in_one_shard(slurm_project, local):
    for table in TABLES:
        assert (slurm_project.folder / table).read_bytes() == (local.folder / table).read_bytes(), (
            table
        )


def test_a_heavy_job_requests_one_gpu_unless_its_study_uses_the_cpu(slurm_project):
    heavy = {"attention", "features", "finetune", "evaluate"}
    for job in slurm_project.jobs:
        assert (job["Account"], job["Partition"]) == ("lab", "tests")
        on_gpu = rule_of(job) in heavy and "_plain_" not in job["Comment"]
        assert job.get("TresPerJob") == ("gres:gpu:1" if on_gpu else None), job


def test_shards_of_a_model_run_at_the_same_time(slurm_project):
    first, second = (job for job in slurm_project.jobs if rule_of(job) == "attention")
    assert max(first["StartTime"], second["StartTime"]) < min(first["EndTime"], second["EndTime"])


def test_no_job_needed_a_network(slurm_project):
    assert not slurm_project.connections.exists()


def test_changing_between_local_and_slurm_reruns_nothing(slurm_project, local):
    for project, profile in ((local, ["--profile", "profiles/slurm"]), (slurm_project, [])):
        result = project.snakemake("-n", *profile, *TABLES)
        assert "Nothing to be done" in result.stdout + result.stderr, result.stderr
