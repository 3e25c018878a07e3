"""Reading images for the annotators, and a list of the images and objects left out."""

import pandas as pd
from PIL.Image import Image

from headimpact.artifacts import columns
from headimpact.dataset.coco import CocoFolder


class Dropped:
    """The images and objects that an annotator left out, each with its reason."""

    def __init__(self):
        self._rows = []

    def leave_out(self, image, reason: str) -> None:
        """Record an image, or an object of it; image: a row of a table of kind "images"."""
        self._rows.append(
            {"image_id": image.image_id, "file_name": image.file_name, "reason": reason}
        )

    def table(self) -> pd.DataFrame:
        """The records as a table of kind "dropped"."""
        return pd.DataFrame(self._rows, columns=columns("dropped"))


def read_image(folder: CocoFolder, image, dropped: Dropped) -> Image | None:
    """The image, fully decoded, as RGB; None if it is damaged or its size is not the recorded one.

    image: a row of a table of kind "images". If the result is None, the image is recorded in
    `dropped`.
    """
    try:
        decoded = folder.image(image.file_name)
    except ValueError as error:
        dropped.leave_out(image, f"damaged image: {error}")
        return None
    if decoded.size != (image.width, image.height):
        dropped.leave_out(image, "size differs from the annotation file")
        return None
    return decoded
