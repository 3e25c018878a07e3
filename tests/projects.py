"""A copy of the workflow that a test may edit and run."""

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PARTS = (
    *("Snakefile", "workflow", "profiles", "envs", "src"),
    *("resources/configurations", "resources/published", "resources/downloads.csv"),
)


ALL = ("paligemma2", "qwen2_vl", "idefics3")


class Project:
    """A copy of the workflow in a folder of its own, with a configuration of the test's."""

    def __init__(self, folder, config):
        self.folder = folder
        folder.mkdir()
        for part in PARTS:
            source = ROOT / part
            (folder / part).parent.mkdir(exist_ok=True)
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(source, folder / part, ignore=ignore)
            else:
                shutil.copy(source, folder / part)
        self.paths = []  # searched for packages before all others
        self.connections = folder / "connections.txt"
        self.servers = {}
        self.configure(config)

    def configure(self, config):
        self.config = copy.deepcopy(config)
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config, sort_keys=False))

    def snakemake(self, *arguments):
        """The finished run, its output as text; whether it ended well is the caller's to ask.

        It may connect to nothing; with `self.servers`, an environment, to servers of the test.
        """
        return subprocess.run(**self._call(arguments), capture_output=True, text=True)

    def start(self, *arguments):
        """A run that goes on beside the test, in a session of its own; its output in output.txt."""
        with (self.folder / "output.txt").open("w") as output:
            return subprocess.Popen(
                **self._call(arguments), stdout=output, stderr=output, start_new_session=True
            )

    def _call(self, arguments):
        mine = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HEADIMPACT_"))}
        environment = {
            **mine,
            "HF_HOME": str(self.folder / "hub"),
            "PYTHONPATH": ":".join(map(str, [*self.paths, ROOT / "tests/workflow/offline"])),
            "HEADIMPACT_CONNECTIONS": str(self.connections),
            **({"HEADIMPACT_LOOPBACK": "1", **self.servers} if self.servers else {}),
        }
        command = [sys.executable, "-m", "snakemake", *arguments]
        return {"args": command, "cwd": self.folder, "env": environment}

    def run(self, *targets):
        done = self.snakemake("--cores", "2", *targets)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def planned(self, *targets):
        """The rules that a dry run would run, as a dict of counts."""
        done = self.snakemake("-n", *targets)
        assert done.returncode == 0, done.stdout + done.stderr
        stats = re.search(
            r"Job stats:\njob +count\n[- ]+\n(.*?)total", done.stdout + done.stderr, re.S
        )
        if stats is None:
            return {}
        return {line.split()[0]: int(line.split()[1]) for line in stats[1].strip().splitlines()}

    def refused(self, *targets, start="config.yaml: "):
        """The one line with which the run ends before any job; `start` is how it begins."""
        done = self.snakemake("--cores", "2", *targets)
        assert done.returncode != 0
        assert "Finished job" not in done.stdout + done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith(start)]
        assert len(lines) == 1, done.stderr
        assert "Traceback" not in done.stderr
        return lines[0]


def tiny(checkpoints, *models):
    """A configuration of one very small study of drawn scenes."""
    return {
        "default_study": "tiny",
        "studies": {
            "tiny": {
                "title": "a very small study",
                "device": "cpu",
                "dataset": {"kind": "scenes", "images": 26, "seed": 5},
                "sampling": {"images": 24},
                "models": {
                    name: {"title": name.upper(), "checkpoint": str(checkpoints / name)}
                    for name in models
                },
                "setups": {
                    "original": {"layers": "none"},
                    "top-2": {"layers": "top", "count": 2},
                    "random-2": {"layers": "random", "count": 2, "draws": 2},
                },
                "training": {"epochs": 1, "learning_rate": 0.001},
            }
        },
    }
