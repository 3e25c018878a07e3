"""All setups of a model, fine-tuned and evaluated, against the plain way.

python -m benchmarks.setups [--scale miniature] [--train 120] [--test 50] [--epochs 4] ...

Both ways in one process, the same batches in the same order, in float32 on a CPU and bfloat16 on a
GPU. Then both once more under torch's counter of operations (FLOPs), whose ratio is what arithmetic
allows. Adds to benchmarks/setups.csv. See README.md.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plain
from benchmarks.command import append_row, parse_arguments
from benchmarks.config import PAPER
from benchmarks.meter import device_name
from benchmarks.models import build
from benchmarks.pictures import Images, by_split, draw
from headimpact.evaluation.evaluate import evaluate
from headimpact.evaluation.questions import make_questions
from headimpact.models import features
from headimpact.models.family import Family
from headimpact.scores.layers import Decoder, published
from headimpact.study.study import Study
from headimpact.training.batches import make_items
from headimpact.training.finetune import finetune
from headimpact.training.lora import add_adapter, load_adapter

LORA = PAPER.methods["lora"].options
# higher than the study's learning rate, so that a few steps change the losses
TRAINING = PAPER.training.model_dump() | {"learning_rate": 1e-3}
SHORTCUTS = PAPER.shortcuts.model_dump()

# The losses of each trained run, epoch by epoch, and the answers of all runs.
Results = tuple[dict[str, list[dict]], list[dict]]


def layers_of_runs(title: str, scale: str, total: int) -> dict[str, list[int]]:
    """The layers of each run of the paper's setups, {name: layers}; original has none."""
    layers = {}
    for run in PAPER.runs():
        several = PAPER.setups[run.setup].draws > 1
        name = f"{run.setup}.{run.draw}" if several else run.setup
        layers[name] = choose_layers(PAPER, run.setup, run.draw, title, scale, total)
    return layers


def choose_layers(
    study: Study, setup: str, draw: int, title: str, scale: str, total: int
) -> list[int]:
    """The layers of a draw of a study's setup, in a decoder of `total` layers.

    At full size top-4 and bottom-4 are those of the paper's Table 3; others rank random scores.
    """
    entry, target = study.setups[setup].entry, []
    options = study.setups[setup].options
    if "layers" in entry.needs:
        target = choose_layers(study, options["to"], 0, title, scale, total)
    decoder = Decoder(
        total=total,
        scores=np.random.default_rng(0).random(total),
        seed=study.layer_seed,
        draw=draw,
        published=title,
        setup=setup,
        matched_layers=target,
    )
    if scale == "full" and setup in ("top-4", "bottom-4"):
        return published(decoder)
    return entry.load()(decoder, **options)


class Trial:
    """The inputs of both ways: a model, its images, their objects and questions, and the runs."""

    def __init__(self, title: str, arguments: argparse.Namespace, work: str | Path):
        self.title, self.arguments, self.work = title, arguments, Path(work)
        validation = max(arguments.train // 4, 1)
        self.images, self.samples, self.objects, annotations = draw(
            arguments.scale,
            impact=1,
            train=arguments.train,
            validation=validation,
            test=arguments.test,
        )
        self.split = by_split(self.samples, self.objects)
        self.questions = make_questions(
            *self.split["test"], annotations, self.objects["description"], 0
        )
        _, self.family = self.load()
        self.layers = layers_of_runs(title, arguments.scale, self.family.layers)
        self.training = {**TRAINING, "epochs": arguments.epochs}

    def load(self) -> tuple[torch.nn.Module, Family]:
        """The model, with the same weights at every call, and its Family."""
        arguments = self.arguments
        return build(
            self.title, arguments.scale, self.work / "model", arguments.device, arguments.dtype
        )


def store_features(
    model: torch.nn.Module,
    family: Family,
    images: Images,
    samples: pd.DataFrame,
    record: Path,
) -> None:
    """Write the features of all samples but those of the split impact, as the rule does."""
    samples = samples[samples["split"] != "impact"]
    computed = features.compute(model, family, images, samples)
    *_, files = features.write(record.with_suffix(""), computed)
    record.write_text(json.dumps({"files": files}), encoding="utf-8")


def fast(trial: Trial, work: Path) -> Results:
    """The rules features, finetune and evaluate."""
    train, validation, test = (trial.split[name] for name in ("train", "validation", "test"))
    work.mkdir(parents=True, exist_ok=True)
    record = work / "features.json"
    store_features(*trial.load(), trial.images, trial.samples, record)
    losses, answers = {}, []
    for name, layers in trial.layers.items():
        folder = work / name
        if layers:
            model, family = trial.load()
            stored = features.load(record)
            losses[name] = finetune(
                model,
                family,
                layers,
                make_items(family, stored, *train),
                make_items(family, stored, *validation),
                partial(add_adapter, **LORA),
                trial.training,
                SHORTCUTS,
                folder / "epochs",
                folder / "adapter",
            )
        model, family = trial.load()
        if layers:
            load_adapter(model, folder / "adapter")
        samples, objects = test
        known = features.load_or_compute(
            model, family, trial.images, samples, features.load(record)
        )
        rows = evaluate(model, family, known, objects, trial.questions, PAPER.evaluation.batch)
        answers += [{"run": name, **row} for row in rows]
    return losses, answers


def from_pixels(trial: Trial, work: Path) -> Results:
    """The same by the plain way."""
    losses, answers = {}, []
    for name, layers in trial.layers.items():
        adapter = work / name / "adapter" if layers else None
        if layers:
            model, family = trial.load()
            losses[name] = plain.finetune(
                model,
                family,
                trial.images,
                layers,
                trial.split["train"],
                trial.split["validation"],
                LORA,
                trial.training,
                work / name / "epochs",
                adapter,
            )
        model, family = trial.load()
        rows = plain.evaluate(
            model, family, trial.images, *trial.split["test"], trial.questions, adapter
        )
        answers += [{"run": name, **row} for row in rows]
    return losses, answers


@contextmanager
def count_operations() -> Iterator[FlopCounterMode]:
    """Within it, operations are counted; attention as its two matrix products."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        yield counter


def measure_time(way: Callable[[Trial, Path], Results], trial: Trial) -> tuple[float, Results]:
    """The seconds that a way takes, and its results."""
    with tempfile.TemporaryDirectory() as work:
        if trial.arguments.device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        results = way(trial, Path(work))
        if trial.arguments.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start, results


def largest_difference(results: Results, plain_results: Results) -> float:
    """The largest relative difference of a training loss or of a description's log-probability."""
    losses, plain_losses = (
        {
            (name, epoch): loss
            for name, history in histories.items()
            for epoch, loss in enumerate(entry["loss"] for entry in history if "loss" in entry)
        }
        for histories, _ in (results, plain_results)
    )
    logs, plain_logs = (
        {(row["run"], row["object_id"]): row["log_probability"] for row in answers}
        for _, answers in (results, plain_results)
    )
    values, plain_values = losses | logs, plain_losses | plain_logs
    if values.keys() != plain_values.keys():
        raise ValueError("the two ways have results of other epochs or items")
    return max(abs(values[key] - plain_values[key]) / abs(plain_values[key]) for key in values)


def compare(title: str, arguments: argparse.Namespace) -> dict:
    """The row of one model."""
    seconds, results, operations = {}, {}, {}
    with tempfile.TemporaryDirectory() as work:
        trial = Trial(title, arguments, work)
        for name, way in (("fast", fast), ("plain", from_pixels)):
            seconds[name], results[name] = measure_time(way, trial)
            with count_operations() as counter:
                measure_time(way, trial)
            operations[name] = counter.get_total_flops()
    allowed = operations["plain"] / operations["fast"]
    reached = seconds["plain"] / seconds["fast"]
    return {
        "device": device_name(arguments.device),
        "dtype": arguments.dtype,
        "model": title,
        "scale": arguments.scale,
        "train": arguments.train,
        "test": arguments.test,
        "epochs": arguments.epochs,
        "runs": len(trial.layers),
        "fast_s": f"{seconds['fast']:.1f}",
        "plain_s": f"{seconds['plain']:.1f}",
        "times_plain": f"{reached:.2f}",
        "operations_allow": f"{allowed:.2f}",
        "of_allowed": f"{reached / allowed:.2f}",
        "difference": f"{largest_difference(results['fast'], results['plain']):.1e}",
    }


def main() -> None:
    arguments = parse_arguments(__doc__, scale="miniature", train=120, test=50, epochs=4)
    for title in arguments.models:
        append_row("setups", compare(title, arguments))


if __name__ == "__main__":
    main()
