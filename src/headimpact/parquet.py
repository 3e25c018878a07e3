"""Reading parquet files that may be damaged, or that another program wrote with other types."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from headimpact.guards import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


@contextmanager
def open_parquet(path: str | Path) -> Iterator[pq.ParquetFile]:
    """The parquet file at `path`, with verification of page checksums; UserError if there is none.

    Files without page checksums are read too: not every program writes them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; correct the path, or run the rule that writes it")
    if Path(path).stat().st_size == 0:
        raise UserError(f"{path}: empty file; delete it and run again")
    with open(path, "rb") as file:
        if file.read(4) != b"PAR1":
            raise UserError(f"{path}: not a parquet file; delete it and run again")
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        file.schema_arrow.names  # noqa: B018 raises for names that are not UTF-8
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(path, error) from error
    with file:
        yield file


def read_column(path: str | Path, file: pq.ParquetFile, name: str) -> pa.ChunkedArray:
    """The column `name` of an open file; UserError if one of its pages is damaged."""
    import pyarrow as pa

    try:
        column = file.read([name]).column(name)
        column.validate(full=True)
        _check_footer(file, name, column)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise damaged(path, f"column {name}: {one_line(error)}") from error
    return column


def _check_footer(file: pq.ParquetFile, name: str, values: pa.ChunkedArray) -> None:
    """Raise ValueError if the footer contradicts itself, or the values that column `name` has.

    The footer has no checksum, but it has counts and types more than once. Only for a column that
    has been read: RowGroupMetaData.column ends the process for damage that reading would find.
    """
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    if not len(values) == file.metadata.num_rows == sum(group.num_rows for group in groups):
        raise ValueError("the footer has two counts of its rows")
    for number in range(len(file.schema)):
        column = file.schema.column(number)
        if column.path.split(".")[0] != name:
            continue
        chunks = [group.column(number) for group in groups]
        if any(chunk.physical_type != column.physical_type for chunk in chunks):
            raise ValueError("the footer has two types for it")
        if column.max_repetition_level:  # The values of a list are not its rows.
            continue
        statistics = [chunk.statistics for chunk in chunks]
        nulls = [None if entry is None else entry.null_count for entry in statistics]
        if None not in nulls and sum(nulls) != values.null_count:
            raise ValueError("the footer has another count of its nulls")


def convert_column(path: str | Path, field: pa.Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """`column` in the type of `field`; UserError if a value would change or is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    again = "or delete the file and run again"
    if column.null_count == len(column):  # pandas writes such a column in whatever type.
        column = pa.chunked_array([pa.nulls(len(column), field.type)])
    if not _same_sort(column.type, field.type):
        raise UserError(
            f"{path}: column {field.name} is of type {column.type}, not {field.type}; convert it, "
            f"{again}"
        )
    try:
        converted = column.cast(field.type)
    except pa.ArrowException as error:
        raise UserError(
            f"{path}: column {field.name} does not fit into {field.type} ({one_line(error)}); "
            f"correct its values, {again}"
        ) from error
    values = pc.list_flatten(converted) if pa.types.is_list(field.type) else converted
    missing = converted.null_count + values.null_count * (values is not converted)
    if pa.types.is_floating(values.type):
        missing += pc.sum(pc.is_nan(values)).as_py() or 0
    if missing and not field.nullable:
        raise UserError(
            f"{path}: column {field.name} lacks {missing} values; fill them in, {again}"
        )
    return converted


def _same_sort(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether both types are of numbers, of text, of bytes, or lists of the same sort."""
    from pyarrow import types

    if types.is_null(given):  # Of the items of lists that are all empty.
        return True
    if types.is_dictionary(given):
        given = given.value_type
    if types.is_list(wanted):
        lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
        return any(is_list(given) for is_list in lists) and _same_sort(
            given.value_type, wanted.value_type
        )
    sorts = (
        (types.is_integer, types.is_floating),
        (types.is_string, types.is_large_string, types.is_string_view),
        (types.is_binary, types.is_large_binary, types.is_fixed_size_binary),
    )
    return any(any(test(given) for test in s) and any(test(wanted) for test in s) for s in sorts)


def damaged(path: str | Path, reason: object) -> UserError:
    """The error to raise for a damaged file."""
    return UserError(f"{path}: damaged ({one_line(reason)}); delete it and run again")


def one_line(text: object) -> str:
    """A message with all line breaks and repeated spaces replaced by single spaces."""
    return " ".join(str(text).split())
