"""What code means, as a number: comments, docstrings and layout aside."""

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent


def fingerprint(*modules):
    """Hash (str) of the named headimpact modules and of all of headimpact that they import.

    modules: dotted names below headimpact, e.g. "dataset.coco". Nothing is imported for it.
    """
    digest = hashlib.sha256()
    for name in sorted(set().union(*map(_reach, modules))):
        digest.update(f"{name} {_meaning(name)}".encode())
    return digest.hexdigest()[:16]


def _file(name):
    path = ROOT.joinpath(*name.split(".")) if name else ROOT
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _tree(name):
    tree = ast.parse(_file(name).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


@cache
def _meaning(name):
    return hashlib.sha256(ast.dump(_tree(name)).encode()).hexdigest()


@cache
def _imports(name):
    """The headimpact modules that a module imports itself."""
    found = set()
    for node in ast.walk(_tree(name)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for full in names:
            if full.startswith("headimpact.") and _file(full.removeprefix("headimpact.")).is_file():
                found.add(full.removeprefix("headimpact."))
    return found


def _reach(name):
    reached, todo = set(), {name}
    while todo:
        one = todo.pop()
        reached.add(one)
        todo |= _imports(one) - reached
    return reached
