"""What every benchmark's command line takes, and where its rows go."""

import argparse
import csv
from pathlib import Path

import torch

from benchmarks.models import MODELS, SCALES
from headimpact.models.load import device_of, dtype_of


def arguments(description, **defaults):
    """The command line's arguments; defaults: of whole numbers by name, and the scale."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default=defaults.pop("scale"))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    told.device = device_of(told.device)
    told.dtype = dtype_of(told.dtype, told.device)
    return told


def record(name, row):
    """Print a row (dict) and add it to benchmarks/NAME.csv."""
    print(row, flush=True)
    path = Path(__file__).with_name(f"{name}.csv")
    new = not path.exists()
    with path.open("a", newline="") as file:
        table = csv.DictWriter(file, row)
        if new:
            table.writeheader()
        table.writerow(row)
