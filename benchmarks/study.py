"""What a study costs on this device, rule by rule, from rates measured at full size.

python -m benchmarks.study [--study paper] [--scale full] [--images 16]

Each rule works on a few images with random weights; its time is scaled to the study's numbers. A
setup is trained and evaluated once, for all its draws and all variants of the same cost. Annotation
is not measured. Adds to benchmarks/study.csv. See README.md.
"""

import argparse
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.command import append_row, parse_arguments
from benchmarks.config import STUDIES
from benchmarks.meter import Measured, device_name, measure
from benchmarks.models import build
from benchmarks.pictures import by_split, draw
from benchmarks.setups import choose_layers, store_features
from headimpact.dataset.samples import split_sizes
from headimpact.evaluation.evaluate import evaluate
from headimpact.evaluation.questions import make_questions
from headimpact.models import features
from headimpact.scores.attention import measure_attention
from headimpact.study.run import Run
from headimpact.study.study import Study
from headimpact.training.batches import make_items
from headimpact.training.finetune import finetune
from headimpact.training.lora import add_adapter, load_adapter

# training values that do not change what a training costs
WITHOUT_COST = ("learning_rate", "warmup", "weight_decay", "seed")


def count_runs(study: Study) -> list[tuple[Run, int]]:
    """The first run of each kind, and how many runs of the study are of that kind.

    Runs of a setup are of one kind if their trainings cost the same.
    """
    kinds = {}
    for run in study.runs():
        training = study.training_of(run.setup, run.variant)
        cost = tuple(value for key, value in training.items() if key not in WITHOUT_COST)
        kinds.setdefault((run.setup, cost), []).append(run)
    return [(runs[0], len(runs)) for runs in kinds.values()]


def measure_rules(
    title: str, arguments: argparse.Namespace, work: Path
) -> Iterator[tuple[str, Measured, int, float]]:
    """Yield (rule, its time and memory, how often it runs, images of a run over those measured)."""
    study = STUDIES[arguments.study]
    sizes = split_sizes(study.sampling.images, study.sampling.proportions.model_dump())
    shortcuts = study.shortcuts.model_dump()
    counts = {
        split: max(arguments.images * size // sizes["train"], 4) for split, size in sizes.items()
    }
    images, samples, objects, annotations = draw(arguments.scale, **counts)
    split, device = by_split(samples, objects), arguments.device

    def load():
        return build(title, arguments.scale, work / "model", device, arguments.dtype)

    def run_attention(samples):
        for _ in measure_attention(model, family, images, samples, objects, study.attention.batch):
            pass

    model, family = load()
    impact_samples, _ = split["impact"]
    run_attention(impact_samples.head(1))  # the first use of a library takes longer
    measured = measure(device, partial(run_attention, impact_samples))
    yield "attention", measured, 1, sizes["impact"] / counts["impact"]

    record = work / "features.json"
    measured = measure(device, partial(store_features, model, family, images, samples, record))
    others = ("train", "validation", "test")
    times = sum(sizes[name] for name in others) / sum(counts[name] for name in others)
    yield "features", measured, 1, times

    stored, adapters, runs = features.load(record), {}, count_runs(study)
    for run, number in runs:
        layers = choose_layers(study, run.setup, run.draw, title, arguments.scale, family.layers)
        folder = work / run.path
        adapters[run] = folder / "adapter" if layers else None
        if layers:
            del model
            model, _ = load()
            train = partial(
                finetune,
                model,
                family,
                layers,
                make_items(family, stored, *split["train"]),
                make_items(family, stored, *split["validation"]),
                partial(add_adapter, **study.method_of(run.setup).options),
                study.training_of(run.setup, run.variant),
                shortcuts,
                folder / "epochs",
                adapters[run],
            )
            measured, times = measure(device, train), sizes["train"] / counts["train"]
            yield f"finetune {run.setup}/{run.variant}", measured, number, times
            del train  # it refers to the model

    test_samples, test_objects = split["test"]
    questions = make_questions(*split["test"], annotations, objects["description"], 0)
    for run, number in runs:
        del model
        model, _ = load()
        if adapters[run]:
            load_adapter(model, adapters[run])
        known = features.load_or_compute(model, family, images, test_samples, stored)
        ask = partial(
            evaluate, model, family, known, test_objects, questions, study.evaluation.batch
        )
        measured, times = measure(device, ask), sizes["test"] / counts["test"]
        yield f"evaluate {run.setup}/{run.variant}", measured, number, times
        del known, ask


def main() -> None:
    arguments = parse_arguments(__doc__, scale="full", studies=list(STUDIES), images=16)
    total = 0
    for title in arguments.models:
        with tempfile.TemporaryDirectory() as work:
            for rule, measured, number, times in measure_rules(title, arguments, Path(work)):
                minutes = measured.seconds * times * number / 60
                total += minutes
                row = {
                    "device": device_name(arguments.device),
                    "dtype": arguments.dtype,
                    "scale": arguments.scale,
                    "study": arguments.study,
                    "model": title,
                    "rule": rule,
                    "jobs": number,
                    "seconds": f"{measured.seconds:.2f}",
                    "peak_gib": f"{measured.peak / 2**30:.1f}",
                    "study_minutes": f"{minutes:.1f}",
                }
                append_row("study", row)
    models = ", ".join(arguments.models)
    print(f"all rules of {arguments.study}, {models}: {total / 60:.1f} hours")


if __name__ == "__main__":
    main()
