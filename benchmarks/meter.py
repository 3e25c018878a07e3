"""Time and peak memory of one piece of work, on the CPU or on a GPU."""

import ctypes
import gc
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Measured:
    """What a piece of work took, and what it gave."""

    seconds: float
    peak: int  # bytes
    before: int  # bytes that were held before it
    result: object

    @property
    def memory(self):
        """Bytes of the peak above what was held before."""
        return self.peak - self.before


def device_name(device):
    """The device's own name, and on a CPU how many threads torch takes."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def measure(device, work):
    """Run `work()` and measure it: a GPU's allocated memory, or a Linux process's resident one."""
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
    result = work()
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else _resident("VmHWM")
    return Measured(seconds, peak, before, result)


def _resident(field):
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024
