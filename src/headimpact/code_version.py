"""What a script's code means, as a number: comments, docstrings, layout and unused code aside."""

import ast
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent
DISTRIBUTIONS = {"PIL": "pillow"}  # where it is not called as what is imported
ASIDE = ("headimpact.fetch.", "tqdm")  # how a file came here and progress bars decide no result


def fingerprint(script, versions):
    """Hash (str) of a script and of each definition of headimpact that it reaches.

    script: its path. versions: {distribution: version}; those count whose packages are imported
    under a name that is reached. Nothing is imported for it. A module of headimpact that is used
    otherwise than by `module.name` counts as a whole.
    """
    reached, todo = {}, [(_module(Path(script)), None)]
    while todo:
        module, name = todo.pop()
        key = f"{module.name}:{name}"
        if key in reached:
            continue
        reached[key], inside, outside = _meaning(module, name)
        todo += inside
        for package in outside:
            distribution = DISTRIBUTIONS.get(package, package.replace("_", "-"))
            if distribution in versions:
                reached[distribution] = versions[distribution]
    return hashlib.sha256(repr(sorted(reached.items())).encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class _Module:
    name: str  # its path below the package, or the script's name
    definitions: dict  # name: the statements that bind it
    imports: dict  # name: what it stands for, dotted
    rest: list  # statements that bind nothing, run for whoever reaches the module


@cache
def _module(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
    module = _Module(str(name), {}, {}, [])
    for statement in tree.body:
        names = _bound(statement)
        for name in names:
            module.definitions.setdefault(name, []).append(statement)
        if isinstance(statement, ast.Import | ast.ImportFrom):
            module.imports.update(_imported(statement))
        elif not names:
            module.rest.append(statement)
    return module


def _bound(statement):
    """The names that a statement of a module defines."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
        return [node.id for node in names if isinstance(node.ctx, ast.Store)]
    return []


def _imported(statement):
    if isinstance(statement, ast.Import):
        return {a.asname or a.name.split(".")[0]: a.name for a in statement.names}
    return {a.asname or a.name: f"{statement.module}.{a.name}" for a in statement.names}


@cache
def _meaning(module, name):
    """What a name of a module, or for None all of it, means: text, and what that uses.

    Returns (text, [(module, name)] of headimpact, the packages of others).
    """
    if name in module.imports:  # handed on
        inside, outside = _used(module.imports[name], [])
        return module.imports[name], inside, outside
    if name is None:
        statements = [one for several in module.definitions.values() for one in several]
    else:
        statements = module.definitions[name]
    statements = [*statements, *module.rest]
    nodes = [node for statement in statements for node in ast.walk(statement)]
    imports = dict(module.imports)
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.update(_imported(node))
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    attributes = [
        (node.value.id, node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]
    text = [ast.dump(statement) for statement in statements]
    found, packages = [(module, used) for used in names if used in module.definitions], set()
    for used in sorted(imports.keys() & set(names)):
        told = [attribute for owner, attribute in attributes if owner == used]
        inside, outside = _used(imports[used], told if len(told) == names.count(used) else [])
        text.append(f"{used} = {imports[used]}")
        found += inside
        packages |= outside
    return "\n".join(text), found, packages


def _used(dotted, attributes):
    """What an imported name stands for, of which alone these attributes are used (all if none)."""
    if dotted.startswith(ASIDE):
        return [], set()
    if not dotted.startswith("headimpact."):
        return [], {dotted.split(".")[0]}
    parts = dotted.split(".")[1:]
    path = ROOT.joinpath(*parts).with_suffix(".py")
    if path.is_file():
        return [(_module(path), attribute) for attribute in attributes or [None]], set()
    return [(_module(ROOT.joinpath(*parts[:-1]).with_suffix(".py")), parts[-1])], set()
