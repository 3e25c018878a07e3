"""Time and peak memory of a function, on the CPU or on a GPU."""

import ctypes
import gc
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Measured:
    """The time and memory that a function took, and its result; peak and before are in bytes."""

    seconds: float
    peak: int
    before: int  # in use before the function ran
    result: object

    @property
    def memory(self) -> int:
        """The peak above what was in use before, in bytes."""
        return self.peak - self.before


def device_name(device: str) -> str:
    """A GPU's name, or a CPU's architecture and torch's number of threads."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def measure(device: str, function: Callable[[], object]) -> Measured:
    """Run `function()` and measure it.

    Memory is what torch allocates on a GPU; on a CPU it is the process's resident memory (Linux).
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        ctypes.CDLL(None).malloc_trim(0)
        RESET.write_text("5")
        before = _resident("VmRSS")
    start = time.perf_counter()
    result = function()
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else _resident("VmHWM")
    return Measured(seconds, peak, before, result)


def _resident(field):
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024
