"""All setups of a model, fine-tuned and evaluated, against the plain way.

python -m benchmarks.setups [--scale miniature] [--train 120] [--test 50] [--epochs 4] ...

Both ways in one process, the same batches in the same order, in float32 on a CPU and bfloat16 on a
GPU. Then both once more under torch's counter of operations (FLOPs), whose ratio is what arithmetic
allows. Adds to benchmarks/setups.csv. See README.md.
"""

import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plain
from benchmarks.command import arguments, record
from benchmarks.meter import device_name
from benchmarks.models import build
from benchmarks.pictures import by_split, draw
from headimpact.evaluation.evaluate import evaluate, questions
from headimpact.models import features
from headimpact.report.published import published_layers
from headimpact.scores.layers import choose
from headimpact.training.batches import make_items
from headimpact.training.finetune import finetune
from headimpact.training.lora import add_adapter, load_adapter

LORA = {"rank": 8, "alpha": 16, "dropout": 0, "targets": ["q_proj", "k_proj", "v_proj"]}
TRAINING = {"batch_size": 8, "by_length": True, "learning_rate": 1e-3, "warmup": 0.1}
TRAINING |= {"weight_decay": 0, "seed": 0}
SHORTCUTS = {"few_logits": True, "frozen_layers": True}
PUBLISHED = Path(__file__).parents[1] / "resources/published"


def setups_of(title, scale, layers):
    """{setup: its layers, None for the model as it is}; three draws of random-4.

    At full size they are the paper's Table 3; the miniatures' are drawn.
    """
    draw = {"layers": "random", "count": 4}
    means = np.random.default_rng(0).random(layers)
    runs = {"original": None}
    for name in ("top", "bottom"):
        told = {"layers": name, "count": 4}
        if scale == "full":
            told = {"layers": published_layers(PUBLISHED, title, f"{name}-4")}
        runs[f"{name}-4"] = choose(told, layers, means, 0, 0)
    runs |= {f"random-4.{n}": choose(draw, layers, means, n, 0) for n in range(3)}
    return runs | {"full": list(range(layers))}


class Study:
    """One model's images, made anew with the same weights for every training."""

    def __init__(self, title, told, work):
        self.title, self.told, self.work = title, told, Path(work)
        counts = {"train": told.train, "validation": max(told.train // 4, 1), "test": told.test}
        self.folder, self.samples, self.objects, annotations = draw(told.scale, impact=1, **counts)
        self.split = by_split(self.samples, self.objects)
        names = self.objects["description"]
        self.asked = questions(*self.split["test"], annotations, names, 0)
        _, self.family = self.model()
        self.runs = setups_of(title, told.scale, self.family.layers)
        self.training = {**TRAINING, "epochs": told.epochs}

    def model(self):
        told = self.told
        return build(self.title, told.scale, self.work / "model", told.device, told.dtype)

    def trained(self):
        return {name: layers for name, layers in self.runs.items() if layers is not None}


def ours(study, work):
    """The rules features, finetune and evaluate: losses of each setup, metrics of all."""
    train, validation, test = (study.split[name] for name in ("train", "validation", "test"))
    model, family = study.model()
    seen = study.samples[study.samples["split"].isin(["train", "validation"])]
    computed = features.compute(model, family, study.folder, seen)
    *_, files = features.write(work / "features", computed)
    adapt = partial(add_adapter, **LORA)
    losses, adapters = {}, {"original": None}
    for name, layers in study.trained().items():
        model, family = study.model()
        known = features.read(work / "features", files)
        items = [make_items(family, known, *part) for part in (train, validation)]
        where = work / name
        losses[name] = finetune(
            *(model, family, layers, *items, adapt, study.training, SHORTCUTS),
            *(where / "epochs", where),
        )
        adapters[name] = where
    rows = []
    for name, adapter in adapters.items():
        model, family = study.model()
        if adapter:
            load_adapter(model, adapter)
        for of_image in evaluate(model, family, study.folder, *test, study.asked):
            rows += [{"setup": name, **row} for row in of_image]
    return losses, rows


def plainly(study, work):
    """The same with the plain ways."""
    train, validation, test = (study.split[name] for name in ("train", "validation", "test"))
    losses, rows = {}, []
    for name, layers in study.runs.items():
        where = None
        if layers is not None:
            model, family = study.model()
            where = work / name
            losses[name] = plain.finetune(
                *(model, family, study.folder, layers, train, validation),
                *(LORA, study.training, where / "epochs", where),
            )
        model, family = study.model()
        rows += [
            {"setup": name, **row}
            for row in plain.evaluate(model, family, study.folder, *test, study.asked, where)
        ]
    return losses, rows


@contextmanager
def counted():
    """Within it, operations are counted; attention as the two products that it is."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        yield counter


def timed(way, study):
    with tempfile.TemporaryDirectory() as work:
        if study.told.device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        result = way(study, Path(work))
        if study.told.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start, result


def largest_difference(study, one, other):
    """Of training losses and of test losses a token, the largest relative difference."""
    pairs = []
    for name in study.trained():
        mine, theirs = (
            [entry["loss"] for entry in losses[name] if "loss" in entry]
            for losses in (one[0], other[0])
        )
        pairs += zip(mine, theirs, strict=True)
    nll = {(row["setup"], row["object_id"]): row["nll"] for row in one[1]}
    ids = study.split["test"][1]["object_id"].tolist() * len(study.runs)
    pairs += [(nll[row["setup"], i], row["nll"]) for i, row in zip(ids, other[1], strict=True)]
    return max(abs(a - b) / abs(b) for a, b in pairs)


def compare(title, told):
    """A row of results (dict) for one model."""
    with tempfile.TemporaryDirectory() as work:
        study = Study(title, told, work)
        seconds, results, count = {}, {}, {}
        for name, way in (("ours", ours), ("plain", plainly)):
            seconds[name], results[name] = timed(way, study)
            with counted() as counter:
                timed(way, study)
            count[name] = counter.get_total_flops()
    allowed, reached = count["plain"] / count["ours"], seconds["plain"] / seconds["ours"]
    return {
        "device": device_name(told.device),
        "dtype": told.dtype,
        "model": title,
        "scale": told.scale,
        "train": told.train,
        "test": told.test,
        "epochs": told.epochs,
        "runs": len(study.runs),
        "ours_s": f"{seconds['ours']:.1f}",
        "plain_s": f"{seconds['plain']:.1f}",
        "times_plain": f"{reached:.2f}",
        "operations_allow": f"{allowed:.2f}",
        "of_allowed": f"{reached / allowed:.2f}",
        "difference": f"{largest_difference(study, results['ours'], results['plain']):.1e}",
    }


def main():
    told = arguments(__doc__, scale="miniature", train=120, test=50, epochs=4)
    for title in told.models:
        record("setups", compare(title, told))


if __name__ == "__main__":
    main()
