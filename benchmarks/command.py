"""The command line that all benchmarks share, and the CSV files that hold their results."""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.models import MODELS, SCALES
from headimpact.models.load import resolve_device, resolve_dtype


def parse_arguments(
    description: str, scale: str, studies: Sequence[str] = (), **numbers: int
) -> argparse.Namespace:
    """The command line's arguments, with device and dtype resolved.

    description: the benchmark's docstring. scale: the default of --scale. studies: the choices of
    --study, for a benchmark that has it. numbers: the benchmark's own options, whole numbers, with
    their defaults.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default=scale)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    if studies:
        parser.add_argument("--study", choices=studies, default="paper")
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.device = resolve_device(arguments.device)
    arguments.dtype = resolve_dtype(arguments.dtype, arguments.device)
    return arguments


def append_row(name: str, row: dict) -> None:
    """Print a row and append it to benchmarks/NAME.csv."""
    print(row, flush=True)
    path = Path(__file__).with_name(f"{name}.csv")
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, row)
        if is_new:
            table.writeheader()
        table.writerow(row)
