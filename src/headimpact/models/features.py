"""What the frozen vision tower and projector make of images: the same in every epoch and setup."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice, zip_longest
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from headimpact.artifacts import file_sha256
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
            files[path.name] = file_sha256(path)
    return images, size, files


def read(folder, files):
    """What `write` kept, {sample_id: tensor}, mapped to memory, not read into it; may be empty.

    files: what `write` told of them. Raises ValueError, naming the file and the mend, if one is
    there and damaged.
    """
    found = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        if file_sha256(path) != files.get(path.name):
            raise UserError(f"{path}: not as it was kept; delete it and run again")
        with safe_open(path, framework="pt") as file:
            found.update({int(name): file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return found
