"""Decoding image files: JPEG, PNG and WebP as RGB."""

from pathlib import Path

from PIL import ExifTags, Image

from headimpact.guards import UserError

FORMATS = ("JPEG", "PNG", "WEBP")
# {EXIF orientation: the transposition that undoes the rotation of the camera}
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(path: Path, upright: bool = False) -> Image.Image:
    """The image file `path`, fully decoded, as RGB.

    upright: rotate the image as its EXIF orientation says. Raises UserError if the file is
    missing or damaged, or is of another format.
    """
    if not path.is_file():
        raise UserError(f"{path}: missing; download it again")
    try:
        with Image.open(path, formats=FORMATS) as image:
            # Not by ImageOps.exif_transpose, which also rewrites the EXIF data and fails for some.
            orientation = image.getexif().get(ExifTags.Base.Orientation) if upright else None
            if orientation in TRANSPOSITIONS:
                return _as_rgb(image.transpose(TRANSPOSITIONS[orientation]))
            return _as_rgb(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable image ({error}); download it again") from error


def _as_rgb(image: Image.Image) -> Image.Image:
    """An image as RGB: 16 bits as 8, transparent pixels on white."""
    if image.mode.startswith("I"):
        image = image.point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
