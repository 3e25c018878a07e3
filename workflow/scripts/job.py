"""What every script needs around its one call."""

import errno
import gc
import io
import os
import sys
import traceback
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

# this checkout's package, whatever else is installed
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

# a checkpoint is read from its folder: only the job that fetches one asks the network
if not sys.argv[0].endswith("checkpoint.py"):
    os.environ["HF_HUB_OFFLINE"] = "1"


FULL = (errno.ENOSPC, errno.EDQUOT)

# what torch and transformers make at their import never dies: looking through it again and again
# takes a third of a job's start
gc.disable()


class _Log(io.TextIOWrapper):
    """The rule's log; a full disk ends a job where a result has no room, not where progress has."""

    def __init__(self, path):
        # closed by the process's end alone: a bar that an error left open writes its last line then
        raw = io.FileIO(path, "w")
        super().__init__(raw, encoding="utf-8", write_through=True)

    def write(self, text):
        try:
            return super().write(text)
        except OSError:
            return len(text)


@contextmanager
def job(snakemake):
    """Progress into the rule's log, the rule's threads for torch, an error as one line."""
    gc.freeze()
    gc.enable()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(snakemake.threads)
    log = _Log(snakemake.log[0])
    with redirect_stderr(log), redirect_stdout(log):
        try:
            yield
            return
        except Exception as error:
            message = _one_line(error, snakemake.output[0])
            if message is None:
                traceback.print_exc()
                raise
            message = f"{snakemake.rule}: {message}"
            print(message)
    raise SystemExit(message)


def _one_line(error, output):
    """What a user is told of an error, or None for one that is a fault of ours."""
    # safetensors has an error of its own for it, without a number
    if getattr(error, "errno", None) in FULL or "(os error 28)" in str(error):
        return f"no room on the disk for {output}; make room, and run the same command again"
    # torch's own, of whoever runs on a GPU
    if type(error).__name__ == "OutOfMemoryError":
        return "the GPU has too little memory; take a larger one, or dtype: bfloat16"
    if isinstance(error, (ValueError, FloatingPointError, OSError, MemoryError)):
        return str(error) or "not enough memory"
    return None
