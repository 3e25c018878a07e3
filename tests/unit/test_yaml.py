"""config.yaml holds plain YAML in UTF-8, and nothing that would run code."""

import pytest

from headimpact.study.config import check_yaml


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: !!python/object/apply:os.system [x]", "line 1: could not determine a constructor"),
        (b"a: 1\nb: !!python/name:os.system", "line 2: could not determine a constructor"),
        (b"a: 1\n\tb: 2", "line 2: found character"),
        (b"a: b: c", "line 1: mapping values are not allowed here; correct it, and quote"),
        (b"a: 1\nb: {c: 1, d: 2, c: 3}", "line 2: the key c stands twice; correct it"),
        (b"a: 1\nb: 2\na: 3", "line 3: the key a stands twice; correct it"),
        (b"a: *b", "line 1: found undefined alias 'b'"),
        (b"{[1]: 2}: 3", "line 1: found unhashable key"),
        ("a: schön".encode("latin-1"), "not YAML in UTF-8"),
        (b"a: \0", "not YAML in UTF-8"),
        (b"a: 2020-02-30", "not YAML in UTF-8 (day is out of range for month); correct it"),
        (b"a: !!bool maybe", "not YAML in UTF-8"),
        (b"a: " + b"[" * 5000, "not YAML in UTF-8 (maximum recursion depth"),
        *((content, "holds no keys") for content in (b"", b"- 1", b"text")),
        (b"__use_yte__: true\n?exit(): 1", "__use_yte__: would run code; write what it makes"),
        # a small file with 10 ** 9 values, and a mapping that contains itself
        (
            b"a0: &a0 [x, x]\n"
            + b"".join(
                b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 10))
                for i in range(1, 10)
            ),
            "more than 100000 values; repeat less by *",
        ),
        (b"a: &a {b: *a}", "more than 100000 values; repeat less by *"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_content_other_than_plain_yaml_is_refused_in_one_line(content, reason):
    with pytest.raises(ValueError, match=r"^config\.yaml: ") as error:
        check_yaml(content)
    assert reason in str(error.value)


def test_aliases_are_plain_yaml():
    check_yaml("a: &a {b: schön}\nc: {<<: *a}\nd: *a\n".encode())
