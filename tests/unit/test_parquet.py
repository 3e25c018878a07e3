"""Damaged files: no bit changes values silently, and each error names the file and the fix."""

import struct

import numpy as np
import pandas as pd
import pytest
from tables import ATTENTION, SCORES, TOKENS, assert_refused

from headimpact import artifacts
from headimpact.guards import UserError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.parquet"


@pytest.mark.parametrize(("kind", "rows"), [("tokens", TOKENS), ("scores", SCORES)])
def test_no_flipped_bit_changes_values_silently(path, kind, rows):
    """A bit of every byte of the pages, and of every third of the footer: equal, or an error."""
    artifacts.write(path, kind, rows, seed=4)
    content = path.read_bytes()
    expected = artifacts.read(path, kind)
    footer = len(content) - 8 - struct.unpack("<I", content[-8:-4])[0]
    errors = 0
    for position in (*range(footer), *range(footer, len(content), 3)):
        changed = bytearray(content)
        changed[position] ^= 1 << (position * 5 % 8)
        path.write_bytes(changed)
        try:
            table = artifacts.read(path, kind)
        except UserError as error:
            text = str(error)
            assert text.startswith(f"{path}: ") and "run again" in text and "\n" not in text
            errors += position < footer
        else:
            pd.testing.assert_frame_equal(table, expected)
    assert errors > 0.6 * footer  # Most of the others are in statistics.


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        # the rows of the file, and a column's type (Null for Int), in the footer's encoding
        (b"\x16\x06\x19", b"\x16\x04\x19", "two counts of its rows"),
        (b"\x04head% L\xac\x13\x10", b"\x04head% L\xbc\x13\x10", "another count of its nulls"),
    ],
)
def test_a_footer_that_contradicts_itself_is_refused(path, before, after, message):
    artifacts.write(path, "scores", SCORES)
    content = path.read_bytes()
    assert content.count(before) >= 1
    path.write_bytes(content.replace(before, after, 1))
    assert_refused(path, "scores", message)


def test_a_damaged_page_is_named_with_its_column(path):
    noise = [{**ATTENTION, "attended": np.random.default_rng(0).bytes(1 << 18)} for _ in range(3)]
    artifacts.write(path, "attention", noise)
    content = path.read_bytes()
    assert artifacts.read(path, "attention")["attended"].tolist() == [r["attended"] for r in noise]
    for position in (len(content) // 3, len(content) // 2, len(content) - (1 << 14)):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        assert_refused(path, "attention", "damaged (column attended: ")
        with pytest.raises(UserError, match=r"damaged .column attended: .*run again"):
            artifacts.check_pages(path)


def test_a_cut_or_lengthened_file_is_refused(path):
    artifacts.write(path, "scores", SCORES)
    content = path.read_bytes()
    for end in range(1, len(content), 7):
        path.write_bytes(content[:end])
        assert_refused(path, "scores", "delete it and run again")
    path.write_bytes(content + b"0")
    assert_refused(path, "scores", "delete it and run again")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file; delete it and run again"),
        (b"<html>no such page</html>", "not a parquet file; delete it and run again"),
        (b"PAR1", "damaged ("),
        (b"PAR1\xff\xff\xff\xffPAR1", "damaged ("),
    ],
)
def test_a_file_that_is_not_parquet_is_refused(path, content, message):
    path.write_bytes(content)
    assert_refused(path, "scores", message)
    with pytest.raises(UserError, match="run again"):
        artifacts.provenance(path)


def test_a_missing_file_is_named(path):
    assert_refused(path, "scores", "no such file; correct the path")
    for function in (artifacts.provenance, artifacts.check_pages):
        with pytest.raises(UserError, match="no such file"):
            function(path)
