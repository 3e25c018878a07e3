"""Which changes of code, tables and packages change the hash of a script, and which do not."""

import ast
import sys

import pytest

from headimpact import code_version as module
from headimpact import table_kinds
from headimpact.code_version import code_version
from headimpact.guards import UserError

FILES = {
    "src/headimpact/__init__.py": "",
    "src/headimpact/artifacts.py": "def read(path, kind): pass\n",
    "src/headimpact/registry.py": "SCORES = {}\n",
    "src/headimpact/study.py": "import torch\n",
    "src/headimpact/fetch/__init__.py": "",
    "src/headimpact/fetch/hub.py": "import torch\n",
    "src/headimpact/leaf.py": 'def minus(a, b):\n    """a minus b."""\n    return a - b  # here\n',
    "src/headimpact/names.py": "VALUE = 1\n",
    "src/headimpact/models/__init__.py": "",
    "src/headimpact/models/family.py": "from ..leaf import minus\nfrom . import layout\n",
    "src/headimpact/models/layout.py": "import numpy as np\n",
    "src/headimpact/models/deep/__init__.py": "",
    "src/headimpact/models/deep/one.py": "from ..layout import np\nfrom ...names import VALUE\n",
    "scripts/job.py": "import os\n",
    "scripts/plain.py": "from job import job\nfrom headimpact.leaf import minus\n",
    "scripts/model.py": "import headimpact.models.family as family\nfrom headimpact import fetch\n",
    "scripts/deep.py": "from headimpact.models.deep import one\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Writes a small package and scripts; gives {script: hash} after changes to its files."""
    monkeypatch.setattr(module, "SOURCE", tmp_path / "src")

    def write(changes=(), **options):
        for name, text in {**FILES, **dict(changes)}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text if isinstance(text, str) else text(FILES[name]))
        scripts = sorted(tmp_path.glob("scripts/*.py"))
        return {path.stem: code_version(path, **options) for path in scripts}

    write.folder = tmp_path
    return write


@pytest.fixture
def changed(project):
    """The scripts whose hash differs after a change to files, as (name, text or function)."""

    def compare(*changes, base=(), **options):
        before = project(base, **options)
        after = project({**dict(base), **dict(changes)}, **options)
        return {name for name in before if before[name] != after[name]}

    return compare


@pytest.mark.parametrize(
    "text",
    [
        lambda text: "# a comment\n\n\n" + text,
        lambda text: '"""A module."""\n' + text,
        lambda text: text.replace("a minus b.", "The difference."),
        lambda text: text.replace('    """a minus b."""\n', ""),
        lambda text: text.replace("  # here", ""),
        lambda text: text.replace("    ", "\t").replace("a - b", "(\n\t\ta\n\t\t- b\n)"),
        lambda text: ast.unparse(ast.parse(text)),
    ],
)
def test_comments_docstrings_and_layout_change_nothing(changed, text):
    assert changed(("src/headimpact/leaf.py", text)) == set()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a - b", "a + b"),
        ("a - b", "b - a"),
        ("a - b", "a - 1"),
        ("minus(a, b)", "minus(a, b=0)"),
        ("minus(a, b)", "minus(b, a)"),
        ("def minus", "async def minus"),
        ("return a - b", "a - b"),
        ("return a - b", "return a - b, 'a minus b.'"),
        ('"""a minus b."""', 'x = """a minus b."""'),
    ],
)
def test_a_changed_sign_changes_every_script_that_reaches_it(changed, before, after):
    change = ("src/headimpact/leaf.py", lambda text: text.replace(before, after))
    assert changed(change) == {"plain", "model"}


def test_where_a_block_ends_is_code(project):
    bodies = ("if x:\n    a\n    b", "if x:\n    a\nelse:\n    b", "if x:\n    a\nb")
    assert len({project({"scripts/job.py": body})["job"] for body in bodies}) == 3


def test_1_and_true_and_1_0_are_different_code(project):
    values = ["1", "True", "1.0", "'1'", "b'1'", "None", "...", "1j", "0x" + "f" * 9999]
    hashes = [project({"scripts/job.py": f"x = {v}"})["job"] for v in values]
    assert len(set(hashes)) == len(values)


IMPORTS = [
    "from headimpact.names import VALUE",
    "from headimpact.names import *",
    "from headimpact import names",
    "from headimpact import names as other",
    "import headimpact.names",
    "import headimpact.names as other",
    "def f():\n    from headimpact.names import VALUE\n",
    "class A:\n    def f(self):\n        import headimpact.names\n",
    "if True:\n    from headimpact import names\nelse:\n    VALUE = 2\n",
    "try:\n    from headimpact import names\nexcept ImportError:\n    names = None\n",
    "try:\n    pass\nexcept ImportError:\n    pass\nelse:\n    import headimpact.names\n",
    "with open('x') as file:\n    from headimpact import names\n",
    "for i in range(3):\n    from headimpact import names\n",
    "while True:\n    from headimpact import names\n",
    "match 1:\n    case 1:\n        from headimpact import names\n",
    "from job import names",
    "import beside.names",
]


@pytest.mark.parametrize("text", IMPORTS)
def test_an_import_is_followed_wherever_it_stands(changed, text):
    base = {
        "scripts/new.py": text,
        "scripts/job.py": "from headimpact import names",
        "scripts/beside/names.py": "from headimpact.names import VALUE",
    }
    change = ("src/headimpact/names.py", "VALUE = 2\n")
    assert "new" in changed(change, base=base)
    assert {"model", "deep"} & changed(change, base=base) == {"deep"}


@pytest.mark.parametrize(
    "text",
    [
        "if True:\n    x = 1\nelse:\n    x = 2\ny = x",
        "try:\n    import nothing_there\nexcept ImportError:\n    nothing_there = None",
        "with open('x') as a, open('y') as (b, c):\n    a, b, c",
        "for x, *y in []:\n    pass\nelse:\n    z = 1\nx, y",
        "match 1:\n    case {'a': x, **y}:\n        x, y",
        "(a := 1)\na.b = a[0] = 2\ndel a\nglobal q",
        "import headimpact.gone\nfrom headimpact.gone import x, y\nfrom .leaf import gone",
        "from . import x\nfrom .... import y\nfrom .x import *",
        "x = 1" + " + 1" * 900,
        "x = [" + "[" * 80 + "]" * 80 + "]",
        "type X = int" if sys.version_info >= (3, 12) else "pass",
        "async def f():\n    async with a as b:\n        return [x async for x in b]",
        'x = f"{a!r:>{width}}" u"text"',
        "",
        "# only a comment",
        "\ufeffx = 1",
    ],
)
def test_no_valid_python_fails(project, text):
    hashes = project({"src/headimpact/names.py": text, "scripts/job.py": text})
    assert all(len(value) == 16 for value in hashes.values())


def test_relative_imports_packages_and_siblings_are_followed(changed):
    assert changed(("src/headimpact/models/layout.py", "x = 1")) == {"model", "deep"}
    assert changed(("src/headimpact/names.py", "x = 1")) == {"deep"}
    assert changed(("src/headimpact/models/__init__.py", "x = 1")) == {"model", "deep"}
    assert changed(("src/headimpact/models/__init__.py", '"""Models."""')) == set()
    assert changed(("src/headimpact/__init__.py", "x = 1")) == {"plain", "model", "deep"}
    assert changed(("scripts/job.py", "x = 1")) == {"job", "plain"}
    assert changed(("scripts/deep.py", lambda text: text + "x = 1")) == {"deep"}
    beside = {"scripts/new.py": "import beside.x", "scripts/beside/x.py": "x = 1"}
    assert changed(("scripts/beside/__init__.py", ""), base=beside) == set()
    assert changed(("scripts/beside/__init__.py", "y = 1"), base=beside) == {"new"}
    star = {"scripts/star.py": "from headimpact.models import *"}
    assert changed(("src/headimpact/models/layout.py", "x = 1"), base=star) >= {"star"}


@pytest.mark.parametrize("name", ["artifacts", "registry", "study", "fetch/hub", "fetch/__init__"])
def test_what_arrives_as_params_and_how_files_were_downloaded_is_not_followed(changed, name):
    text = f"import headimpact.{name.replace('/', '.')}\nfrom headimpact import fetch, study"
    base = {"scripts/new.py": text, "src/headimpact/studying.py": "x = 1"}
    assert changed((f"src/headimpact/{name}.py", "x = 1"), base=base) == set()
    # a name that only begins like theirs
    base["scripts/new.py"] = "import headimpact.studying"
    assert changed(("src/headimpact/studying.py", "x = 2"), base=base) == {"new"}


def test_a_module_that_is_named_at_run_time_is_followed(changed):
    change = ("src/headimpact/names.py", "VALUE = 2\n")
    everything = {"deep", "job", "model", "plain"}
    assert changed(change, modules=["headimpact.models.deep.one"]) == everything
    assert changed(change, modules=["headimpact.models.layout", "headimpact.study"]) == {"deep"}


@pytest.mark.parametrize("name", ["headimpact.models.gone", "headimpact.leaf.minus", "gone"])
def test_a_module_to_follow_that_does_not_exist_is_named(project, name):
    with pytest.raises(UserError, match=rf"\.py: no module {name} to follow; correct its name"):
        project(modules=[name])


@pytest.mark.parametrize(
    ("text", "line"),
    [("x = 1\ny = (", 2), ("x = 1\n\n  y = 2", 3), ("x = '\0'", "")],
)
def test_a_syntax_error_is_named_with_file_and_line(project, text, line):
    with pytest.raises(UserError, match=rf"leaf\.py: .*{line}.*; correct it") as error:
        project({"src/headimpact/leaf.py": text})
    assert "\n" not in str(error.value)


USES = {
    "scripts/reads.py": "from headimpact import artifacts\nartifacts.read('x', 'samples')",
    "scripts/others.py": "from headimpact import artifacts\nartifacts.read('x', 'images')",
    "scripts/variable.py": "from job import read\nfor kind in ('samples',):\n    read(kind)",
    "scripts/module.py": "from headimpact import reader",
    "scripts/no_table.py": "from headimpact import no_reader",
    "src/headimpact/no_reader.py": (
        "from headimpact.artifacts import columns\ncolumns(kind='images')\n"
        "x = {'samples': open('x').read()}"
    ),
}


@pytest.mark.parametrize(
    "reader",
    [
        "from headimpact import artifacts\nartifacts.read('x', 'samples')",
        "from headimpact import artifacts as a\na.read_all([], kind='samples')",
        "from . import artifacts\nartifacts.columns('samples')",
        "import headimpact.artifacts\nheadimpact.artifacts.schema('samples')",
        "import headimpact.artifacts as a\na.write('x', 'samples', [])",
        "from headimpact.artifacts import write_parts\ndef f():\n    write_parts('x', 'samples')",
        "from headimpact.artifacts import read as get\nget('x', 'samples')",
        "from headimpact.artifacts import *\nread('x', 'samples')",
        "from .artifacts import read\nread('x', 'samples')",
        # the kind is not in the call: all that the file names count
        "from headimpact import artifacts\nKIND = 'samples'\nartifacts.read('x', KIND)",
        "from headimpact.artifacts import read\nreaders = {'samples': read}",
        "from headimpact import artifacts\nf = partial(artifacts.read, kind='samples')",
    ],
)
def test_a_changed_column_changes_the_scripts_that_use_the_table(project, monkeypatch, reader):
    files = {**USES, "src/headimpact/reader.py": reader}
    before = project(files)
    samples = {**table_kinds.TABLES["samples"], "width": "int32"}
    monkeypatch.setitem(table_kinds.TABLES, "samples", samples)
    after = project(files)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"reads", "variable", "module"}


def test_a_new_kind_of_table_changes_nothing(project, monkeypatch):
    before = project(USES | {"src/headimpact/reader.py": ""})
    monkeypatch.setitem(table_kinds.TABLES, "another", {"x": "int64"})
    assert project(USES | {"src/headimpact/reader.py": ""}) == before


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ("import torch.nn.functional as F", "torch"),
        ("from PIL import Image", "pillow"),
        ("def f():\n    from scipy.stats import rankdata", "scipy"),
        ("try:\n    import peft\nexcept ImportError:\n    peft = None", "peft"),
        ("from matplotlib import pyplot", "matplotlib"),
        ("from pycocotools import mask", "pycocotools"),
        ("from safetensors.torch import save_file", "safetensors"),
        ("import pandas, inflect", "inflect"),
    ],
)
def test_an_upgrade_counts_where_the_package_is_imported(project, text, package):
    files = {"scripts/new.py": text, "scripts/job.py": "import tqdm, pooch, snakemake, yaml"}
    before = project(files, versions=lambda name: "1")
    after = project(files, versions=lambda name: "2" if name == package else "1")
    assert {name for name in before if before[name] != after[name]} == {"new"}
    before = project({"src/headimpact/leaf.py": text}, versions=lambda name: "1")
    after = project(
        {"src/headimpact/leaf.py": text}, versions=lambda name: "2" if name == package else "1"
    )
    assert {"plain", "model"} <= {name for name in before if before[name] != after[name]}


def test_an_upgrade_of_other_packages_counts_nowhere(project):
    asked = []
    project(
        {"scripts/job.py": "import tqdm, pooch, snakemake, yaml, requests"}, versions=asked.append
    )
    assert set(asked) == {"numpy"}
