"""Every table that rules hand to each other: its columns, its checked write and read."""

import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from contextlib import closing
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from headimpact.guards import UserError

# a file keeps the SHA-256 of all its other bytes in 64 characters behind this: the key as the end
# of a parquet file holds it. Pages could have checksums of their own, but the end has none
SEAL = b"headimpact.sha256\x18\x40"
UNSEALED = "0" * 64
TAIL = 1 << 20  # bytes, in which the end of a parquet file lies

SPLITS = ("impact", "train", "validation", "test")
PACKAGES = ("torch", "transformers", "peft", "numpy", "scipy", "pandas", "pyarrow", "pillow")

_OBJECT = [
    ("description", pa.string()),
    *((edge, pa.float64()) for edge in ("x0", "y0", "x1", "y1")),  # pixels
    ("mask", pa.string()),  # COCO RLE counts
    ("confidence", pa.float64()),
]
_IMAGE = [
    ("image_id", pa.int64()),
    ("file_name", pa.string()),
    ("width", pa.int64()),
    ("height", pa.int64()),
    ("sha256", pa.string()),  # of the image's file when it was drawn; none where there is none
    ("caption_id", pa.int64()),
    ("caption", pa.string()),
]
_HEAD = [("layer", pa.int16()), ("head", pa.int16())]

SCHEMAS = {
    # an image drawn for the study, with one of its captions and who annotates it, in the order
    # of the draw
    "images": pa.schema([*_IMAGE, ("annotator", pa.string())]),
    # an object that the annotator found, before any filter
    "annotations": pa.schema([("image_id", pa.int64()), *_OBJECT]),
    # an image or object left out, and why
    "dropped": pa.schema(
        [("image_id", pa.int64()), ("file_name", pa.string()), ("reason", pa.string())]
    ),
    # an image that entered the study
    "samples": pa.schema([("sample_id", pa.int64()), *_IMAGE, ("split", pa.string())]),
    # a key object
    "objects": pa.schema([("sample_id", pa.int64()), ("object_id", pa.int64()), *_OBJECT]),
    # an object on a model's token grid; coverage in the order of the image tokens, 0 to 1
    "tokens": pa.schema(
        [
            ("object_id", pa.int64()),
            ("tiles", pa.int32()),
            ("rows", pa.int32()),
            ("columns", pa.int32()),
            ("coverage", pa.list_(pa.float32())),
        ]
    ),
    # object x layer x head: which image tokens lie above the mean, packed to bits (numpy order)
    "attended": pa.schema([("object_id", pa.int64()), *_HEAD, ("attended", pa.binary())]),
    # object x layer x head
    "impact": pa.schema([("object_id", pa.int64()), *_HEAD, ("iou", pa.float64())]),
    # layer x head
    "head_scores": pa.schema(
        [
            ("score", pa.string()),
            *_HEAD,
            ("value", pa.float64()),
            ("standard_error", pa.float64()),
            ("n", pa.int64()),
        ]
    ),
    # a test item of a setup and draw; nll: sum over the description's tokens, nats; p_*: over the
    # whole vocabulary
    "metrics": pa.schema(
        [
            ("setup", pa.string()),
            ("draw", pa.int64()),
            ("sample_id", pa.int64()),
            ("object_id", pa.int64()),
            ("nll", pa.float64()),
            ("tokens", pa.int64()),
            *((f"p_{label}", pa.float64()) for label in "ABCD"),
            ("answer", pa.string()),
            ("chosen", pa.string()),
        ]
    ),
}


def write(path, kind, table, **provenance):
    """Write `table` (DataFrame or list of dicts) as the artifact `kind`, whole or not at all.

    provenance: what else to record beside the package versions (str, numbers, lists, dicts).
    Raises ValueError if columns are missing, unknown or hold what their type does not admit.
    """
    write_parts(path, kind, (part for part in [table]), **provenance)


def write_parts(path, kind, parts, **provenance):
    """The same for a table that comes in parts (a generator), of which one is held at a time."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    record = {"kind": kind, "versions": versions, "machine": _machine(), **provenance}
    recorded = json.dumps(record, sort_keys=True)
    schema = SCHEMAS[kind].with_metadata({"headimpact": recorded})
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        # a generator ends with its writer, or it would with the interpreter, and with a traceback
        with closing(parts), pq.ParquetWriter(partial, schema, compression="zstd") as file:
            for part in parts:
                file.write_table(_checked(path, schema, part))
            file.add_key_value_metadata({"headimpact.sha256": UNSEALED})
        place, _, digest = _seal(partial)
        with open(partial, "r+b") as file:
            file.seek(place)
            file.write(digest)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _machine():
    """On what this process runs; a GPU is named if it has been used."""
    told = {"python": platform.python_version(), "system": platform.system()}
    told["processor"] = platform.machine()
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        told["gpu"] = torch.cuda.get_device_name()
    return told


def _checked(path, schema, part):
    frame = pd.DataFrame(part, columns=None if len(part) else schema.names)
    if set(frame.columns) != set(schema.names):
        raise UserError(f"{path}: columns {sorted(frame.columns)}, not {sorted(schema.names)}")
    try:
        return pa.Table.from_pandas(frame[schema.names], schema, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(f"{path}: {error}") from error


def read(path, kind):
    """The artifact at `path` as a DataFrame.

    Raises ValueError, naming the file and the mend, if a byte of it is not as it was written, if
    it was not written here, or if it is of another kind.
    """
    file = _unchanged(path)
    schema = file.schema_arrow
    if _record(schema)["kind"] != kind or schema.remove_metadata() != SCHEMAS[kind]:
        raise UserError(f"{path}: not a table of {kind}; delete it and run again")
    return file.read().to_pandas()


def read_all(paths, kind):
    """The shards of one artifact, one behind the other."""
    return pd.concat([read(path, kind) for path in paths], ignore_index=True)


def provenance(path):
    """What was recorded when the artifact was written (dict). Raises as `read` does."""
    return _record(_unchanged(path).schema_arrow)


def _record(schema):
    return json.loads(schema.metadata[b"headimpact"])


def _unchanged(path):
    """The parquet file at `path`, once it is known that all its bytes are as they were written."""
    _, kept, digest = _seal(path)
    if kept is None or kept != digest:
        raise UserError(f"{path}: damaged, or not written by headimpact; delete it and run again")
    return pq.ParquetFile(path)


def _seal(path):
    """Where a file keeps its hash, the hash there, and that of all its other bytes; or Nones."""
    with open(path, "rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - TAIL)
        file.seek(start)
        tail = file.read()
        before, key, after = tail.rpartition(SEAL)
        if not key:
            return None, None, None
        digest = hashlib.sha256()
        file.seek(0)
        while size := min(TAIL, start - file.tell()):
            digest.update(file.read(size))
    digest.update(before + key + after[64:])
    return start + len(before + key), after[:64], digest.hexdigest().encode()
