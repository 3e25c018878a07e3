"""What every script needs around its one call."""

import gc
import os
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

# this checkout's package, whatever else is installed
sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

# a checkpoint is read from its folder: only the job that fetches one asks the network
if not sys.argv[0].endswith("checkpoint.py"):
    os.environ["HF_HUB_OFFLINE"] = "1"


# what torch and transformers make at their import never dies: looking through it again and again
# takes a third of a job's start
gc.disable()


@contextmanager
def _into(log):
    with redirect_stderr(log), redirect_stdout(log):
        yield


@contextmanager
def job(snakemake):
    """Progress into the rule's log, the rule's threads for torch, an error as one line."""
    gc.freeze()
    gc.enable()
    message = None
    with Path(snakemake.log[0]).open("w", encoding="utf-8") as log, _into(log):
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(snakemake.threads)
        try:
            yield
        except (ValueError, FloatingPointError, OSError) as error:
            message = f"{snakemake.rule}: {error}"
            print(message, file=log)
    if message:
        raise SystemExit(message)
