"""What the paper's study costs on this device, rule by rule, from rates measured at full size.

python -m benchmarks.study [--scale full] [--images 16]

Each rule works on a few images with random weights; its time is scaled to the study's numbers.
Adds to benchmarks/study.csv. See README.md.
"""

import tempfile
from functools import partial
from pathlib import Path

from benchmarks.command import arguments, record
from benchmarks.meter import device_name, measure
from benchmarks.models import build
from benchmarks.pictures import by_split, draw
from benchmarks.setups import LORA, SHORTCUTS, TRAINING, setups_of
from headimpact.evaluation.evaluate import evaluate, questions
from headimpact.models import features
from headimpact.scores.attention import attend
from headimpact.training.batches import make_items
from headimpact.training.finetune import finetune
from headimpact.training.lora import add_adapter, load_adapter

STUDY = {"impact": 1000, "train": 1200, "validation": 300, "test": 500}  # sampling.proportions
EPOCHS = 3  # training.epochs


def costs(title, told, work):
    """Yield (rule, what it took, how many times that the study takes)."""
    counts = {name: max(told.images * count // 1200, 4) for name, count in STUDY.items()}
    folder, samples, objects, annotations = draw(told.scale, **counts)
    split = by_split(samples, objects)

    def model():
        return build(title, told.scale, work / "model", told.device, told.dtype)

    network, family = model()
    list(attend(network, family, folder, split["impact"][0].head(1), objects, 16))  # first uses
    kept, seen = work / "features", samples[samples["split"].isin(["train", "validation"])]

    def look():
        return list(attend(network, family, folder, *split["impact"], 16))

    def keep():
        return features.write(kept, features.compute(network, family, folder, seen))

    yield "attention", measure(told.device, look), STUDY["impact"] / counts["impact"]
    times = (STUDY["train"] + STUDY["validation"]) / len(seen)
    measured = measure(told.device, keep)
    yield "features", measured, times
    *_, files = measured.result
    known, adapters = features.read(kept, files), {"original": None}
    adapt = partial(add_adapter, **LORA)
    training = {**TRAINING, "epochs": EPOCHS}
    for name, layers in setups_of(title, told.scale, family.layers).items():
        if layers is None:
            continue
        del network
        network, _ = model()
        items = [make_items(family, known, *split[part]) for part in ("train", "validation")]
        where = work / name
        given = (layers, *items, adapt, training, SHORTCUTS, where / "epochs", where)

        def train(network=network, given=given):
            return finetune(network, family, *given)

        yield f"finetune {name}", measure(told.device, train), STUDY["train"] / counts["train"]
        adapters[name] = where
    asked = questions(*split["test"], annotations, objects["description"], 0)

    for name, adapter in adapters.items():
        del network
        network, _ = model()
        if adapter:
            load_adapter(network, adapter)

        def judge(network=network):
            return list(evaluate(network, family, folder, *split["test"], asked))

        yield f"evaluate {name}", measure(told.device, judge), STUDY["test"] / counts["test"]


def main():
    told = arguments(__doc__, scale="full", images=16)
    total = 0
    for title in told.models:
        with tempfile.TemporaryDirectory() as work:
            for rule, measured, times in costs(title, told, Path(work)):
                minutes = measured.seconds * times / 60
                total += minutes
                row = {
                    "device": device_name(told.device),
                    "dtype": told.dtype,
                    "scale": told.scale,
                    "model": title,
                    "rule": rule,
                    "seconds": f"{measured.seconds:.2f}",
                    "peak_gib": f"{measured.peak / 2**30:.1f}",
                    "study_minutes": f"{minutes:.1f}",
                }
                record("study", row)
    print(f"all rules of {', '.join(told.models)}: {total:.0f} minutes")


if __name__ == "__main__":
    main()
