"""What every script needs around its one call."""

import errno
import gc
import os
import sys
import traceback
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

# this checkout's package, whatever else is installed
sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

# a checkpoint is read from its folder: only the job that fetches one asks the network
if not sys.argv[0].endswith("checkpoint.py"):
    os.environ["HF_HUB_OFFLINE"] = "1"


FULL = (errno.ENOSPC, errno.EDQUOT)

# what torch and transformers make at their import never dies: looking through it again and again
# takes a third of a job's start
gc.disable()


@contextmanager
def job(snakemake):
    """Progress into the rule's log, the rule's threads for torch, an error as one line."""
    gc.freeze()
    gc.enable()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(snakemake.threads)
    # closed by hand, since on a full disk that fails, too
    log = Path(snakemake.log[0]).open("w", encoding="utf-8")  # noqa: SIM115
    try:
        with redirect_stderr(log), redirect_stdout(log):
            yield
    except Exception as error:
        message = _one_line(error, snakemake.output[0])
        if message is None:
            traceback.print_exc(file=log)
            raise
        # the log may be what there is no room for
        with suppress(OSError):
            print(f"{snakemake.rule}: {message}", file=log)
        raise SystemExit(f"{snakemake.rule}: {message}") from None
    finally:
        with suppress(OSError):
            log.close()


def _one_line(error, output):
    """What a user is told of an error, or None for one that is a fault of ours."""
    # safetensors has an error of its own for it, without a number
    if getattr(error, "errno", None) in FULL or "(os error 28)" in str(error):
        return f"no room on the disk for {output}; make room, and run the same command again"
    if isinstance(error, (ValueError, FloatingPointError, OSError, MemoryError)):
        return str(error) or "not enough memory"
    return None
