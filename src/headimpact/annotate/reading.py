"""What annotators share: reading images, counting what is left out."""

import pandas as pd

from headimpact.artifacts import columns


class Dropped:
    """The images and objects that an annotator left out, each with its reason."""

    def __init__(self):
        self._rows = []

    def leave_out(self, image, reason):
        """Count one; image: a row of a table of kind "images". An object counts as its image."""
        self._rows.append(
            {"image_id": image.image_id, "file_name": image.file_name, "reason": reason}
        )

    def table(self):
        """A table of kind "dropped"."""
        return pd.DataFrame(self._rows, columns=columns("dropped"))


def read_image(folder, image, dropped):
    """The image, fully decoded, as RGB; None if it is damaged or not of the size that is told.

    folder: a CocoFolder. image: a row of a table of kind "images". An image that is None is left
    out, in `dropped` (a Dropped).
    """
    try:
        picture = folder.image(image.file_name)
    except ValueError as error:
        dropped.leave_out(image, f"damaged image: {error}")
        return None
    if picture.size != (image.width, image.height):
        dropped.leave_out(image, "size differs from the annotation file")
        return None
    return picture
