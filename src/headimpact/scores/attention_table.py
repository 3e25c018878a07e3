"""The table of attention as arrays of layers and heads, object by object."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from headimpact.guards import UserError


def attended_by_object(
    tokens: pd.DataFrame, attention: pd.DataFrame
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each object's id and its attended tokens, bool (layers, heads, visual tokens).

    tokens, attention: tables of those kinds, of the same objects; objects come in ascending order
    of their ids. Raises UserError if the tables are of different objects, or if a layer or head of
    an object is missing.
    """
    counts = {row.object_id: len(row.coverage) for row in tokens.itertuples()}
    attention, (_, layers, heads) = _sort(tokens, attention)
    for object_id, rows in attention.groupby("object_id")["attended"]:
        bits = unpack(rows.tolist(), counts[object_id])
        yield object_id, bits.reshape(layers, heads, -1)


def head_values(
    tokens: pd.DataFrame, attention: pd.DataFrame, column: str
) -> tuple[np.ndarray, np.ndarray]:
    """A column of numbers for each object, in ascending order of their ids.

    tokens, attention: as in `attended_by_object`, which says what is raised.
    Returns the ids, (objects,), and the numbers, (objects, layers, heads); float32 as float64.
    """
    attention, shape = _sort(tokens, attention)
    values = attention[column].to_numpy()
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
    return attention["object_id"].unique(), values.reshape(shape)


def _sort(
    tokens: pd.DataFrame, attention: pd.DataFrame
) -> tuple[pd.DataFrame, tuple[int, int, int]]:
    """The rows by object, layer and head, and the number of each."""
    ids = set(tokens["object_id"])
    if set(attention["object_id"]) != ids:
        raise UserError("tokens and attention are of other objects; delete both and run again")
    keys = ["object_id", "layer", "head"]
    shape = len(ids), int(attention["layer"].max()) + 1, int(attention["head"].max()) + 1
    if len(attention) != np.prod(shape) or attention.duplicated(keys).any():
        raise UserError(
            "attention has not one row for each object, layer and head; delete it and run again"
        )
    return attention.sort_values(keys, ignore_index=True), shape


def unpack(packed: list[bytes], tokens: int) -> np.ndarray:
    """The bits of `scores.attention.pack` as bool (len(packed), tokens).

    Raises UserError if the bytes do not hold that many tokens.
    """
    width = -(-tokens // 8)
    if any(len(row) != width for row in packed):
        raise UserError(f"attended tokens are not {tokens} bits; delete the file and run again")
    rows = np.frombuffer(b"".join(packed), np.uint8).reshape(len(packed), width)
    return np.unpackbits(rows, axis=1, count=tokens).astype(bool)
