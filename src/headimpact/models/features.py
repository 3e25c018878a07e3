"""What the frozen vision tower and projector make of images: the same in every epoch and setup."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice, zip_longest
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from headimpact.digest import sha256
from headimpact.guards import UserError

TOGETHER = 64  # images a file: what is held in memory at once


def read_ahead(family, folder, samples, desc="images"):
    """Yield each of `samples` (a row) with its image's pixels, the next one read meanwhile.

    folder: where the images lie (`image(file_name)`). Pixels are as of `Family.pixels`.
    """
    rows = list(samples.itertuples())

    def read(row):
        return family.pixels([folder.image(row.file_name)])

    with ThreadPoolExecutor(1) as reader, tqdm(rows, desc=desc, unit="image") as bar:
        coming = reader.submit(read, rows[0]) if rows else None
        for row, following in zip_longest(rows, rows[1:]):
            pixels = coming.result()
            if following:
                coming = reader.submit(read, following)
            yield row, pixels
            bar.update()


def compute(model, family, folder, samples, desc="images"):
    """Yield (sample, features) for each of `samples`, in their order; see `read_ahead`.

    Features are a tensor (visual tokens, hidden) on the model's device, as `Family.features` gives.
    """
    for sample, pixels in read_ahead(family, folder, samples, desc):
        (features,) = family.features(model, pixels)
        yield sample, features


def write(folder, computed):
    """Keep what `compute` yields in safetensors files in `folder`, and nothing else there.

    Returns how many images they are, how many bytes, and {file name: SHA-256}.
    """
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    images, size, files = 0, 0, {}
    with closing(computed):
        while several := list(islice(computed, TOGETHER)):
            path = folder / f"{images}.safetensors"
            save_file({str(sample.sample_id): tensor.cpu() for sample, tensor in several}, path)
            images, size = images + len(several), size + path.stat().st_size
            files[path.name] = sha256(path)
    return images, size, files


def load(record) -> dict[int, torch.Tensor]:
    """The features that `write` stored, {sample_id: tensor (visual tokens, hidden)}; may be empty.

    record: the JSON file beside their folder that says which files there are; None for no
    features. They are mapped to memory, not read into it. Raises UserError, naming the file, if
    one is there and damaged.
    """
    stored = {}
    if not record:
        return stored
    files = json.loads(Path(record).read_bytes())["files"]
    for path in sorted(Path(record).with_suffix("").glob("*.safetensors")):
        if sha256(path) != files.get(path.name):
            raise UserError(f"{path}: not as it was written; delete it and run again")
        with safe_open(path, framework="pt") as file:
            stored.update({int(name): file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return stored


def load_or_compute(model, family, images, samples, stored: dict) -> Iterator:
    """Yield (sample, features) for each of `samples`: those stored first, then those computed.

    images: a CocoFolder. stored: what `load` gave, which may lack any of them.
    """
    present = samples["sample_id"].isin(stored)
    for sample in samples[present].itertuples():
        yield sample, stored[sample.sample_id].to(model.device)
    yield from compute(model, family, images, samples[~present])
