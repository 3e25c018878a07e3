"""Image features of the frozen vision tower and projector: the same in every epoch and setup."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice, zip_longest
from pathlib import Path

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from headimpact.artifacts import file_sha256
from headimpact.dataset.coco import CocoFolder
from headimpact.guards import UserError
from headimpact.models.family import Family

IMAGES_PER_FILE = 64  # as many are held in memory at once


def read_ahead(family: Family, images: CocoFolder, samples: pd.DataFrame, desc: str) -> Iterator:
    """Yield (sample, pixels) for each row of `samples`, while the next image is read.

    pixels: tensors (dict) as `Family.pixels` gives them.
    """
    rows = list(samples.itertuples())

    def read(row):
        return family.pixels([images.image(row.file_name)])

    with ThreadPoolExecutor(1) as reader, tqdm(rows, desc=desc, unit="image") as bar:
        pending = reader.submit(read, rows[0]) if rows else None
        for row, following in zip_longest(rows, rows[1:]):
            pixels = pending.result()
            if following:
                pending = reader.submit(read, following)
            yield row, pixels
            bar.update()


def compute(
    model, family: Family, images: CocoFolder, samples: pd.DataFrame, desc: str = "images"
) -> Iterator:
    """Yield (sample, features) for each row of `samples`, in their order.

    images: a CocoFolder, or whatever has `image(file_name)`. features: a tensor (visual tokens,
    hidden) on the model's device, as `Family.features` gives it.
    """
    for sample, pixels in read_ahead(family, images, samples, desc):
        (features,) = family.features(model, pixels)
        yield sample, features


def write(folder: str | Path, computed: Iterator) -> tuple[int, int, dict[str, dict]]:
    """Store what `compute` yields in safetensors files in `folder`, and nothing else there.

    Returns how many images they are, how many bytes, and {file name: its SHA-256 and samples}.
    """
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    images, size, files = 0, 0, {}
    with closing(computed):
        while part := list(islice(computed, IMAGES_PER_FILE)):
            path = folder / f"{images}.safetensors"
            save_file({str(sample.sample_id): tensor.cpu() for sample, tensor in part}, path)
            images, size = images + len(part), size + path.stat().st_size
            ids = [int(sample.sample_id) for sample, _ in part]
            files[path.name] = {"sha256": file_sha256(path), "samples": ids}
    return images, size, files


def load(record: str | Path | None, samples: pd.DataFrame | None = None) -> dict[int, torch.Tensor]:
    """The features that `write` stored, {sample_id: tensor (visual tokens, hidden)}; may be empty.

    record: the JSON file beside their folder that says which files there are; None for no
    features. samples: a table of samples; only files that hold one of them are read, all if None.
    Features are mapped to memory, not read into it. Raises UserError, naming the file, if one that
    is read is damaged.
    """
    stored = {}
    if not record:
        return stored
    files = json.loads(Path(record).read_bytes())["files"]
    for path in sorted(Path(record).with_suffix("").glob("*.safetensors")):
        entry = files.get(path.name)
        if entry and samples is not None and not samples["sample_id"].isin(entry["samples"]).any():
            continue
        if entry is None or file_sha256(path) != entry["sha256"]:
            raise UserError(f"{path}: not as it was written; delete it and run again")
        with safe_open(path, framework="pt") as file:
            stored.update({int(name): file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return stored


def load_or_compute(
    model, family: Family, images: CocoFolder, samples: pd.DataFrame, stored: dict
) -> Iterator:
    """Yield (sample, features) for each of `samples`: those stored first, then those computed.

    images: a CocoFolder. stored: what `load` gave, which may lack any of them.
    """
    present = samples["sample_id"].isin(stored)
    for sample in samples[present].itertuples():
        yield sample, stored[sample.sample_id].to(model.device)
    yield from compute(model, family, images, samples[~present])
