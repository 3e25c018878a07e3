"""The paper's three architectures at full size, with random weights, on real photographs.

python -m benchmarks.full_size --root FOLDER [--images 16] [--models smolvlm-instruct ...]

FOLDER is in COCO's layout, with instances. Prints, and adds to benchmarks/full_size.csv, the
time and the peak memory of each stage of a study: Head Impact, one epoch of fine-tuning top-4,
evaluation; in bfloat16 on a GPU and on a CPU. What random weights say is rubbish; what they cost
is what trained ones cost. Tokenizers are the miniatures', which spell most words by letter.
"""

import argparse
import csv
import json
import platform
import resource
import shutil
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from headimpact.annotate.instances import annotate
from headimpact.attend import attend
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.samples import draw_images, make_samples
from headimpact.evaluate import evaluate, questions
from headimpact.finetune import finetune, make_items
from headimpact.miniature.tokenizers import make_tokenizer
from headimpact.models.load import device_of, load_family
from headimpact.published import published_layers

RESOURCES = Path(__file__).parents[1] / "resources"
MODELS = {  # configuration: its tokenizer, its name in the paper
    "paligemma2-3b-mix-448": ("paligemma2", "PaliGemma2"),
    "qwen2-vl-2b-instruct": ("qwen2_vl", "Qwen2-VL"),
    "smolvlm-instruct": ("idefics3", "SmolVLM"),
}
LORA = {"rank": 8, "alpha": 16, "dropout": 0, "targets": ["q_proj", "k_proj", "v_proj"]}
TRAINING = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-4, "warmup": 0.1, "weight_decay": 0}
SPLITS = ("impact", "train", "validation", "test")


def family_at_full_size(name, folder):
    """The Family of a published configuration, with a miniature's tokenizer, in `folder`."""
    shutil.copytree(RESOURCES / "configurations" / name, folder, dirs_exist_ok=True)
    tokenizer = make_tokenizer(MODELS[name][0])
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    image = "<|image_pad|>" if config["model_type"] == "qwen2_vl" else "<image>"
    config.pop("image_token_index", None)
    config["image_token_id"] = tokenizer.convert_tokens_to_ids(image)
    (folder / "config.json").write_text(json.dumps(config))
    return load_family(folder)


def random_model(folder, device):
    """A model of that folder's configuration with random weights, in bfloat16."""
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(
            AutoConfig.from_pretrained(folder), dtype=torch.bfloat16
        )
    return model.eval()


def drawn(root, count):
    """Samples, objects and annotations of `count` photographs for each split."""
    folder = CocoFolder(root, "val2017")
    captions = folder.captions()
    spare = min(captions["image_id"].nunique(), 8 * count)
    images = draw_images(captions, spare, 0).assign(annotator="instances")
    annotations, dropped = annotate(folder, images, "{article} {category}")
    samples, objects, _ = make_samples(
        images,
        annotations,
        dropped,
        dict.fromkeys(SPLITS, count),
        dict.fromkeys(SPLITS, "instances"),
        0.85,
        {**dict.fromkeys(SPLITS, 1), "impact": None},
        "random",
        0,
    )
    return folder, samples, objects, annotations


class Meter:
    """Measures stages, one after the other, and keeps a row of each."""

    def __init__(self, device, model):
        self.device, self.model, self.rows = device, model, []

    def __call__(self, stage, images, work):
        if self.device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        result = work()
        if self.device == "cuda":
            torch.cuda.synchronize()
            peak, name = torch.cuda.max_memory_allocated(), torch.cuda.get_device_name()
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            name = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
        seconds = time.perf_counter() - start
        row = {"device": name, "model": self.model, "stage": stage, "images": images}
        row |= {"seconds_per_image": f"{seconds / images:.4g}", "peak_gib": f"{peak / 2**30:.3g}"}
        print(row, flush=True)
        self.rows.append(row)
        return result


def measure(name, root, count, device, work):
    """Rows of all stages for one model; one small pass first, which is not measured."""
    folder, samples, objects, annotations = drawn(root, count)
    split = {s: samples[samples["split"] == s] for s in SPLITS}
    of = {s: objects[objects["sample_id"].isin(split[s]["sample_id"])] for s in SPLITS}
    family = family_at_full_size(name, work / "checkpoint")
    model = random_model(work / "checkpoint", device)
    meter = Meter(device, MODELS[name][1])
    attend(model, family, folder, split["impact"].head(1), of["impact"], 16)
    meter("Head Impact", count, lambda: attend(model, family, folder, split["impact"], objects, 16))
    asked = questions(split["test"], of["test"], annotations, objects["description"], 0)
    meter(
        "evaluation",
        count,
        lambda: evaluate(model, family, folder, split["test"], of["test"], asked),
    )
    items = meter(
        "image features",
        2 * count,
        lambda: [make_items(model, family, folder, split[s], of[s], 4) for s in SPLITS[1:3]],
    )
    layers = published_layers(RESOURCES / "published", MODELS[name][1], "top-4")
    training = {**TRAINING, "seed": 0}
    adapter, epochs = work / "adapter", work / "epochs"
    meter(
        "one epoch of top-4",
        count,
        lambda: finetune(model, family, layers, *items, LORA, training, epochs, adapter),
    )
    return meter.rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="a folder in COCO's layout")
    parser.add_argument("--images", type=int, default=16, help="photographs a stage")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    told = parser.parse_args()
    path = Path(__file__).with_name("full_size.csv")
    for name in told.models:
        with tempfile.TemporaryDirectory() as work:
            rows = measure(name, told.root, told.images, device_of(told.device), Path(work))
        new = not path.exists()
        with path.open("a", newline="") as file:
            table = csv.DictWriter(file, rows[0])
            if new:
                table.writeheader()
            table.writerows(rows)


if __name__ == "__main__":
    main()
