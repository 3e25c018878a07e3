"""What a script's code means: what changes it and what does not."""

import shutil
from pathlib import Path

import pytest

from headimpact import code_version as module
from headimpact.code_version import fingerprint

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "workflow/scripts"
VERSIONS = {"torch": "1", "pillow": "1", "scipy": "1", "peft": "1", "matplotlib": "1", "tqdm": "1"}


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Edits a copy of the package and of the scripts; says which scripts then mean something else.

    code(changes) writes {file: text, or (old, new)}; versions: {distribution: version}.
    """

    def copy():
        copy.number += 1  # what was read of a path is not read again
        folder = tmp_path / str(copy.number)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src/headimpact", folder / "headimpact", ignore=ignore)
        shutil.copytree(SCRIPTS, folder / "scripts", ignore=ignore)
        return folder

    copy.number = 0

    def all_of(folder, versions):
        monkeypatch.setattr(module, "ROOT", folder / "headimpact")
        return {path.stem: fingerprint(path, versions) for path in folder.glob("scripts/*.py")}

    def changed(changes=(), versions=()):
        before = all_of(copy(), VERSIONS)
        folder = copy()
        for file, change in dict(changes).items():
            text = (folder / file).read_text()
            if isinstance(change, tuple):
                assert change[0] in text
                text = text.replace(*change)
            else:
                text = change(text)
            (folder / file).write_text(text)
        after = all_of(folder, {**VERSIONS, **dict(versions)})
        return {name for name in before if before[name] != after[name]}

    return changed


READERS = {"annotate_instances", "annotate_release", "annotate_florence2_sam2"}
MODEL = {"attention", "features", "finetune", "evaluate", "tokens", "parameters", "figure2"}


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("headimpact/impact.py", lambda text: "# a comment\n\n\n" + text),
        ("headimpact/impact.py", lambda text: text.replace('"""', '"""Now ', 1)),
        (
            "headimpact/impact.py",
            ("Intersection over union of", "The intersection over the union of"),
        ),
        ("headimpact/impact.py", lambda text: text + "\n\ndef not_used():\n    return 1\n"),
        ("headimpact/artifacts.py", lambda text: text.replace("    ", "\t")),
        ("headimpact/fetch/hub.py", ("commit", "revision")),
        ("scripts/checkpoint.py", ("indent=1", "indent=2")),
    ],
)
def test_what_changes_no_meaning(code, file, change):
    assert code({file: change}) - {"checkpoint"} == set()


@pytest.mark.parametrize(
    ("file", "change", "scripts"),
    [
        ("scripts/table3.py", ("index=False", "index=True"), {"table3"}),
        ("headimpact/tables.py", (":.2f", ":.3f"), {"table4"}),
        ("headimpact/statistics.py", ("def kruskal(", "def kruskal(_none=None, *, "), {"table2"}),
        ("headimpact/impact.py", ("attention > attention", "attention < attention"), {"attention"}),
        # a template: who speaks, not who looks at pixels or at configurations
        (
            "headimpact/prompts.py",
            ("What is this photo?", "What is it?"),
            {"attention", "finetune", "evaluate", "miniature"},
        ),
        # a method of a class that is reached by its module's table
        (
            "headimpact/models/qwen2_vl.py",
            ("begin, tokens", "first, tokens"),
            MODEL | {"miniature"},
        ),
        # reached by a name that only the running script knows
        ("headimpact/figures.py", ("def figure5(", "def figure5(_none=None, *, "), {"figure"}),
        # the same name for another thing of the same package
        (
            "headimpact/models/load.py",
            ("    AutoConfig,", "    AutoTokenizer as AutoConfig,"),
            MODEL | {"miniature"},
        ),
        # a statement that runs on import
        (
            "headimpact/branches.py",
            lambda text: text + "\nprint(1)\n",
            {"attention", "evaluate"},
        ),
    ],
)
def test_whoever_reaches_a_changed_definition_means_something_else(code, file, change, scripts):
    assert code({file: change}) == scripts


@pytest.mark.parametrize(
    ("package", "scripts"),
    [
        ("matplotlib", {"figure", "figure2"}),
        ("peft", {"finetune", "evaluate", "parameters"}),
        ("pillow", {*MODEL, *READERS, "captions", "scenes", "images", "miniature"}),
        ("tqdm", set()),
        ("nothing-of-ours", set()),
    ],
)
def test_an_upgrade_counts_where_the_package_is_used(code, package, scripts):
    assert code(versions={package: "2"}) == scripts


def test_how_a_checkpoint_was_fetched_is_not_asked(code):
    """`locate` is reached, and what of headimpact.fetch it uses is not."""
    assert not code(
        {"headimpact/fetch/hub.py": ("local_files_only=True", "local_files_only=False")}
    )
    assert MODEL - {"parameters"} <= code({"headimpact/models/locate.py": ("entry", "told")})
