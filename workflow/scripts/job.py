"""What every script needs around its one call: the log, the inputs, the record.

Snakemake gives a script the rule's threads in OMP_NUM_THREADS, which torch follows.
"""

import gc
import io
import os
import sys
import traceback
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cached_property
from pathlib import Path

# this checkout's package, whatever else is installed
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

# a checkpoint is read from its folder: only the job that fetches one asks the network
if not sys.argv[0].endswith("checkpoint.py"):
    os.environ["HF_HUB_OFFLINE"] = "1"

# Python's garbage collector would search all that torch and transformers create at import, which
# lives until the process ends, again and again: a third of a job's start
gc.disable()

from headimpact import artifacts  # noqa: E402
from headimpact.guards import explain  # noqa: E402


class _Log(io.TextIOWrapper):
    """The rule's log; a full disk ends a job where a result has no room, not where progress has."""

    def __init__(self, path):
        # closed when the process ends: a progress bar that an error left open writes a last line
        raw = io.FileIO(path, "w")
        super().__init__(raw, encoding="utf-8", write_through=True)

    def write(self, text):
        try:
            return super().write(text)
        except OSError:
            return len(text)


class Job:
    """A rule's job: its params by name, its tables, and the record that its results carry."""

    def __init__(self, snakemake):
        self.input, self.output = snakemake.input, snakemake.output
        self.wildcards, self.params = snakemake.wildcards, snakemake.params
        self._config = snakemake.config

    @cached_property
    def config(self):
        """The configuration, for values that change no result, and so are no params."""
        from headimpact.study.config import parse_config

        return parse_config(self._config)

    @property
    def study(self):
        """The job's study in it."""
        return self.config.studies[self.wildcards.study]

    def samples(self, *splits):
        """The samples of some splits, or of all; of a sharded rule, the job's share of them."""
        samples = artifacts.read(self.input.samples, "samples")
        if splits:
            samples = samples[samples["split"].isin(splits)]
        return self.share(samples)

    def share(self, table):
        """The rows of a table that this job's shard works on."""
        if "shard" not in self.wildcards.keys():  # noqa: SIM118 - not a dict
            return table
        return table.iloc[int(self.wildcards.shard) :: self.params.shards]

    def objects(self, samples=None):
        """The key objects, of some samples or of all."""
        objects = artifacts.read(self.input.objects, "objects")
        return objects if samples is None else objects[objects["sample_id"].isin(samples.sample_id)]

    def write(self, path, kind, table, **record):
        """Write an artifact with the job's wildcards and code in its record."""
        artifacts.write(path, kind, table, **self._record(record))

    def write_parts(self, path, kind, parts, **record):
        """The same for a table that comes in parts (a generator), one of them held at a time."""
        artifacts.write_parts(path, kind, parts, **self._record(record))

    def _record(self, record):
        return {**dict(self.wildcards.items()), "code": self.params.code, **record}


@contextmanager
def job(snakemake):
    """Progress into the rule's log, an error as one line."""
    gc.freeze()
    gc.enable()
    log = _Log(snakemake.log[0])
    with redirect_stderr(log), redirect_stdout(log):
        try:
            yield Job(snakemake)
            return
        except Exception as error:
            message = explain(error, snakemake.output[0])
            if message is None:
                traceback.print_exc()
                message = f"{type(error).__name__}; the traceback is in {snakemake.log[0]}"
            message = f"{snakemake.rule}: {message}"
            print(message)
    raise SystemExit(message)
