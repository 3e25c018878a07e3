"""What every script needs around its one call."""

import sys
from contextlib import contextmanager, redirect_stderr


@contextmanager
def job(snakemake):
    """Progress into the rule's log, the rule's threads for torch, an error as one line."""
    message = None
    with open(snakemake.log[0], "w", encoding="utf-8") as log, redirect_stderr(log):
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(snakemake.threads)
        try:
            yield
        except (ValueError, FloatingPointError, OSError) as error:
            message = f"{snakemake.rule}: {error}"
            print(message, file=log)
    if message:
        raise SystemExit(message)
