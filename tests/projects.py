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
COPIED_PATHS = (
    *("Snakefile", "workflow", "profiles", "envs", "src"),
    *("resources/configurations", "resources/published", "resources/downloads.csv"),
)
MINIATURES = ("paligemma2", "qwen2_vl", "idefics3")


class Project:
    """A copy of the workflow in a new folder, with the configuration that a test gives."""

    def __init__(self, folder, config):
        self.folder = folder
        folder.mkdir()
        for path in COPIED_PATHS:
            source = ROOT / path
            (folder / path).parent.mkdir(exist_ok=True)
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(source, folder / path, ignore=ignore)
            else:
                shutil.copy(source, folder / path)
        self.paths = []  # they come first on PYTHONPATH
        self.connections = folder / "connections.txt"
        self.servers = {}
        self.configure(config)

    def configure(self, config):
        self.config = copy.deepcopy(config)
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config, sort_keys=False))

    def snakemake(self, *arguments):
        """Run Snakemake and return its CompletedProcess, whatever its exit code.

        Every connection is refused, unless `self.servers` is set: environment variables with the
        addresses of the test's servers, which allow connections to this machine.
        """
        return subprocess.run(**self._call(arguments), capture_output=True, text=True)

    def start(self, *arguments):
        """Start Snakemake in the background, in a new session, with its output in output.txt."""
        with (self.folder / "output.txt").open("w") as output:
            return subprocess.Popen(
                **self._call(arguments), stdout=output, stderr=output, start_new_session=True
            )

    def _call(self, arguments):
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "HEADIMPACT_"))
        }
        environment = {
            **inherited,
            "HF_HOME": str(self.folder / "hub"),
            "PYTHONPATH": ":".join(map(str, [*self.paths, ROOT / "tests/workflow/offline"])),
            "HEADIMPACT_CONNECTIONS": str(self.connections),
            **({"HEADIMPACT_LOOPBACK": "1", **self.servers} if self.servers else {}),
        }
        command = [sys.executable, "-m", "snakemake", *arguments]
        return {"args": command, "cwd": self.folder, "env": environment}

    def run(self, *targets):
        result = self.snakemake("--cores", "2", *targets)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    def planned(self, *targets):
        """The number of jobs of each rule that a dry run plans: {rule: count}."""
        result = self.snakemake("-n", *targets)
        assert result.returncode == 0, result.stdout + result.stderr
        stats = re.search(
            r"Job stats:\njob +count\n[- ]+\n(.*?)total", result.stdout + result.stderr, re.S
        )
        if stats is None:
            return {}
        return {line.split()[0]: int(line.split()[1]) for line in stats[1].strip().splitlines()}

    def refused(self, *targets, start="config.yaml: "):
        """The error line, beginning with `start`, with which the run ends before its first job."""
        result = self.snakemake("--cores", "2", *targets)
        assert result.returncode != 0
        assert "Finished job" not in result.stdout + result.stderr
        lines = [line for line in result.stderr.splitlines() if line.startswith(start)]
        assert len(lines) == 1, result.stderr
        assert "Traceback" not in result.stderr
        return lines[0]


def tiny(checkpoints, *models):
    """A configuration of one very small study of synthetic scenes."""
    return {
        "default_study": "tiny",
        "studies": {
            "tiny": {
                "title": "a very small study",
                "device": "cpu",
                "dataset": {"kind": "scenes", "images": 26, "seed": 5},
                "sampling": {"images": 24},
                "scores": {"head_impact": {}, "specific_head_impact": {}},
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
