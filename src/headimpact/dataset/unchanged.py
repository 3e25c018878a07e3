"""Whether images are still those that a study was drawn from."""

from tqdm import tqdm

from headimpact.dataset.coco import within
from headimpact.digest import sha256
from headimpact.guards import UserError


def digests(folder, file_names):
    """SHA-256 of each image file as it lies there (list of str); None where there is none.

    folder: a CocoFolder.
    """
    found = []
    for name in tqdm(list(file_names), desc="files", unit="image"):
        path = folder.images_folder / within(name, folder.images_folder)
        found.append(sha256(path) if path.is_file() else None)
    return found


def check_unchanged(folder, images):
    """Raise ValueError, naming the first image file of `images` that has changed, and the mend.

    images: a table of kind "images" or "samples".
    """
    now = digests(folder, images["file_name"])
    for row, digest in zip(images.itertuples(), now, strict=True):
        then = row.sha256 if isinstance(row.sha256, str) else None  # pandas has NaN for None
        if digest != then:
            raise UserError(
                f"{folder.images_folder / row.file_name}: not the file that the study was drawn "
                f"from; put that back, or delete the study's images.parquet and run again"
            )
