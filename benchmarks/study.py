"""What the paper's study costs on this device, rule by rule, from rates measured at full size.

python -m benchmarks.study [--scale full] [--images 16]

Each rule works on a few images with random weights; its time is scaled to the study's numbers.
Adds to benchmarks/study.csv. See README.md.
"""

import argparse
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.command import append_row, parse_arguments
from benchmarks.config import PAPER
from benchmarks.meter import Measured, device_name, measure
from benchmarks.models import build
from benchmarks.pictures import by_split, draw
from benchmarks.setups import LORA, SHORTCUTS, TRAINING, layers_of_runs, store_features
from headimpact.dataset.samples import split_sizes
from headimpact.evaluation.evaluate import evaluate
from headimpact.evaluation.questions import make_questions
from headimpact.models import features
from headimpact.scores.attention import attended_tokens
from headimpact.training.batches import make_items
from headimpact.training.finetune import finetune
from headimpact.training.lora import add_adapter, load_adapter

SIZES = split_sizes(PAPER.sampling.images, PAPER.sampling.proportions.model_dump())


def measure_rules(
    title: str, arguments: argparse.Namespace, work: Path
) -> Iterator[tuple[str, Measured, float]]:
    """Yield (rule, its time and memory, the study's images over those measured)."""
    counts = {
        split: max(arguments.images * size // SIZES["train"], 4) for split, size in SIZES.items()
    }
    images, samples, objects, annotations = draw(arguments.scale, **counts)
    split, device = by_split(samples, objects), arguments.device

    def load():
        return build(title, arguments.scale, work / "model", device, arguments.dtype)

    def run_attention(samples):
        for _ in attended_tokens(model, family, images, samples, objects, PAPER.attention.batch):
            pass

    model, family = load()
    impact_samples, _ = split["impact"]
    run_attention(impact_samples.head(1))  # the first use of a library takes longer
    measured = measure(device, partial(run_attention, impact_samples))
    yield "attention", measured, SIZES["impact"] / counts["impact"]

    record = work / "features.json"
    measured = measure(device, partial(store_features, model, family, images, samples, record))
    others = ("train", "validation", "test")
    times = sum(SIZES[name] for name in others) / sum(counts[name] for name in others)
    yield "features", measured, times

    stored, adapters = features.load(record), {}
    for name, layers in layers_of_runs(title, arguments.scale, family.layers).items():
        adapters[name] = work / name / "adapter" if layers else None
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
                partial(add_adapter, **LORA),
                TRAINING,
                SHORTCUTS,
                work / name / "epochs",
                adapters[name],
            )
            yield f"finetune {name}", measure(device, train), SIZES["train"] / counts["train"]
            del train  # it refers to the model

    test_samples, test_objects = split["test"]
    questions = make_questions(*split["test"], annotations, objects["description"], 0)
    for name, adapter in adapters.items():
        del model
        model, _ = load()
        if adapter:
            load_adapter(model, adapter)
        known = features.load_or_compute(model, family, images, test_samples, stored)
        ask = partial(evaluate, model, family, known, test_objects, questions)
        yield f"evaluate {name}", measure(device, ask), SIZES["test"] / counts["test"]
        del known, ask


def main() -> None:
    arguments = parse_arguments(__doc__, scale="full", images=16)
    total = 0
    for title in arguments.models:
        with tempfile.TemporaryDirectory() as work:
            for rule, measured, times in measure_rules(title, arguments, Path(work)):
                minutes = measured.seconds * times / 60
                total += minutes
                row = {
                    "device": device_name(arguments.device),
                    "dtype": arguments.dtype,
                    "scale": arguments.scale,
                    "model": title,
                    "rule": rule,
                    "seconds": f"{measured.seconds:.2f}",
                    "peak_gib": f"{measured.peak / 2**30:.1f}",
                    "study_minutes": f"{minutes:.1f}",
                }
                append_row("study", row)
    print(f"all rules of {', '.join(arguments.models)}: {total:.0f} minutes")


if __name__ == "__main__":
    main()
