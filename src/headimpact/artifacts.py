"""The tables that rules hand to each other: their columns, and checked writing and reading.

Each table is a parquet file with a checksum for every page. A file that another program wrote,
pandas for example, is accepted if it has the same columns.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headimpact.guards import UserError
from headimpact.parquet import convert_column, damaged, one_line, open_parquet, read_column
from headimpact.table_kinds import TABLES

# pyarrow and pandas are imported where they are used: the Snakefile imports this module
if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PACKAGES = ("torch", "transformers", "peft", "numpy", "scipy", "pandas", "pyarrow", "pillow")


def columns(kind: str) -> list[str]:
    """The columns of a kind of table, in the order in which they are written."""
    return list(TABLES[kind])


def schema(kind: str) -> pa.Schema:
    """The arrow schema of a kind of table."""
    import pyarrow as pa

    return pa.schema(
        pa.field(name, _arrow_type(text.removesuffix("?")), nullable=text.endswith("?"))
        for name, text in TABLES[kind].items()
    )


def _arrow_type(text: str) -> pa.DataType:
    import pyarrow as pa

    if text.startswith("list<"):
        return pa.list_(pa.type_for_alias(text.removeprefix("list<").removesuffix(">")))
    return pa.type_for_alias(text)


def write(path: str | Path, kind: str, table: Any, **provenance: Any) -> None:
    """Write `table` (DataFrame, list of dicts or dict of columns) as the file `path`.

    The file appears under its name only once it is complete. provenance: what to record in it,
    beside the package versions (text, numbers, lists, dicts). Raises UserError if a column is
    missing, unknown, or holds values that its type does not admit.
    """
    write_parts(path, kind, (part for part in [table]), **provenance)


def write_parts(path: str | Path, kind: str, parts: Generator, **provenance: Any) -> None:
    """Like `write`, for a table that a generator yields in parts; one part is held at a time."""
    import pyarrow.parquet as pq

    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    record = {"kind": kind, "versions": versions, "machine": _machine(), **provenance}
    written_schema = schema(kind).with_metadata({"headimpact": json.dumps(record, sort_keys=True)})
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        # A generator that is left open after an error would be closed when the interpreter exits,
        # and print a second traceback then.
        with (
            closing(parts),
            pq.ParquetWriter(
                partial, written_schema, compression="zstd", write_page_checksum=True
            ) as file,
        ):
            for part in parts:
                file.write_table(_to_arrow(path, kind, part).cast(written_schema))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _machine() -> dict[str, str]:
    """The machine that this process runs on; its GPU only if the process has used it."""
    machine = {
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": platform.machine(),
    }
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        machine["gpu"] = torch.cuda.get_device_name()
    return machine


def _to_arrow(path: Path, kind: str, part: Any) -> pa.Table:
    import pandas as pd
    import pyarrow as pa

    try:
        frame = pd.DataFrame(part, columns=None if len(part) else columns(kind))
    except UnicodeEncodeError as error:
        raise UserError(f"{path}: holds text that is not Unicode ({error}); correct it") from error
    _check_columns(path, kind, list(frame.columns))
    converted = []
    for field in schema(kind):
        try:
            column = pa.Table.from_pandas(frame[[field.name]], preserve_index=False).column(0)
        except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
            raise UserError(
                f"{path}: column {field.name} holds values that are not {field.type} "
                f"({one_line(error)}); correct them"
            ) from error
        converted.append(convert_column(path, field, column))
    return pa.table(converted, schema=schema(kind))


def read(path: str | Path, kind: str) -> pd.DataFrame:
    """The table of this kind in the file `path`, with the columns and types of TABLES.

    A column of another type of the same sort (int64 for int16, large_string for string) is
    converted if no value changes; float64 is rounded to float32. Raises UserError, one line with
    the file and the fix, if the file is missing, is damaged or is not parquet, and if a column is
    missing, unknown, of another type, or holds nulls where none may be.
    """
    import pyarrow as pa

    with open_parquet(path) as file:
        # pandas writes an index that is not 0, 1, 2, ... as such a column
        names = [n for n in file.schema_arrow.names if not n.startswith("__index_level_")]
        _check_columns(path, kind, names)
        converted = [
            convert_column(path, field, read_column(path, file, field.name))
            for field in schema(kind)
        ]
    return pa.table(converted, schema=schema(kind)).to_pandas()


def read_all(paths: Iterable[str | Path], kind: str) -> pd.DataFrame:
    """The rows of several files of one kind, in the order of `paths`."""
    import pandas as pd

    return pd.concat([read(path, kind) for path in paths], ignore_index=True)


def provenance(path: str | Path) -> dict[str, Any]:
    """What `write` recorded in the file; {} for a file that another program wrote.

    The record has no checksum: it informs, and no result may depend on it. Raises UserError if
    the file is missing, is not parquet, or the record cannot be read.
    """
    with open_parquet(path) as file:
        recorded = (file.schema_arrow.metadata or {}).get(b"headimpact", b"{}")
    try:
        return dict(json.loads(recorded))
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(path, error) from error


def check_pages(path: str | Path) -> None:
    """Raise UserError if the parquet file is missing or one of its pages is damaged."""
    with open_parquet(path) as file:
        for name in file.schema_arrow.names:
            read_column(path, file, name)


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_columns(path: str | Path, kind: str, names: list[str]) -> None:
    for name in columns(kind):
        if name not in names:
            raise UserError(
                f"{path}: column {name} is missing in this table of {kind}; add it, or delete the "
                f"file and run again"
            )
    for name in names:
        if name not in TABLES[kind] or names.count(name) > 1:
            problem = "occurs twice" if name in TABLES[kind] else "is unknown"
            raise UserError(
                f"{path}: column {name} {problem} in this table of {kind}; remove it, or delete "
                f"the file and run again"
            )
