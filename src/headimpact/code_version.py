"""Hash of the code that a script can reach, with the versions of the packages that it imports."""

import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from headimpact.artifacts import PACKAGES
from headimpact.guards import UserError
from headimpact.syntax import parse_file
from headimpact.table_kinds import TABLES

SOURCE = Path(__file__).parents[1]  # The folder that holds the package headimpact.
# The packages that decide results, {name in an import: name of the distribution}.
DISTRIBUTIONS = {
    "PIL": "pillow",
    **{name: name for name in PACKAGES},
    **{name: name for name in ("inflect", "matplotlib", "pycocotools", "safetensors")},
}
# The part of these in a result arrives as params of its rule, or as the columns of a table; how a
# file was downloaded decides no result.
_VALUES = ("study", "config", "artifacts", "table_kinds", "entries", "registry", "score_registry")
NOT_FOLLOWED = tuple(f"headimpact.{name}." for name in (*_VALUES, "fetch"))


@cache
def installed_version(distribution: str) -> str:
    """The public version of an installed package: 2.13.0 for 2.13.0+cpu."""
    try:
        return importlib.metadata.version(distribution).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def pinned_versions(path: str | Path) -> Callable[[str], str]:
    """A function from a package to the version that the conda environment file `path` pins."""
    import yaml

    pins = {}
    for entry in yaml.safe_load(Path(path).read_bytes())["dependencies"]:
        for requirement in entry.get("pip", []) if isinstance(entry, dict) else [entry]:
            name, _, version = requirement.replace("==", "=").partition("=")
            pins[name.strip().lower().replace("_", "-")] = version.strip()
    return lambda distribution: pins.get(distribution, "not pinned")


def code_version(
    script: str | Path,
    modules: Iterable[str] = (),
    versions: Callable[[str], str] = installed_version,
) -> str:
    """Hash of a script and of all that it imports, wherever in a file the import stands.

    Modules of headimpact and files beside the script count as a whole, with their own imports,
    but for docstrings, comments and layout; those of NOT_FOLLOWED do not count. Of other packages
    the versions of DISTRIBUTIONS count. The columns of a table count if the script holds the name
    of its kind, or a module gives it to a function of artifacts; not if a module gives it to a
    function of another module, which passes it on.

    modules: further modules of headimpact, which the script imports by name when it runs.
    versions: a function from a package to its version. Raises UserError, with file and line, for
    a file that is not valid Python, and for an entry of `modules` that does not exist.
    """
    script = Path(script)
    hashes, kinds, packages = {}, set(), set()
    files = [("", str(script))]
    for module in modules:
        followed = _module_files(module, str(SOURCE))
        if module not in dict(followed) and not f"{module}.".startswith(NOT_FOLLOWED):
            raise UserError(f"{script}: no module {module} to follow; correct its name")
        files += followed
    while files:
        module, path = files.pop()
        if module in hashes:
            continue
        code = parse_file(path, Path(path).read_bytes())
        hashes[module] = code.hash
        kinds |= code.kinds if module else code.texts & TABLES.keys()
        package = module.split(".") if path.endswith("__init__.py") else module.split(".")[:-1]
        for level, name in code.imports:
            # One dot is the module's own package, each further dot the parent of that.
            parents = package[: max(0, len(package) + 1 - level)] if level else []
            dotted = ".".join(filter(None, [*parents, name]))
            root = dotted.partition(".")[0]
            if root in DISTRIBUTIONS:
                packages.add(DISTRIBUTIONS[root])
            files += _module_files(dotted, str(SOURCE if root == "headimpact" else script.parent))
    record = (
        sorted((name, value) for name, value in hashes.items() if value),
        sorted((kind, tuple(TABLES[kind].items())) for kind in kinds),
        sorted((package, versions(package)) for package in packages),
    )
    return hashlib.sha256(repr(record).encode()).hexdigest()[:16]


def _module_files(dotted: str, folder: str) -> list[tuple[str, str]]:
    """The files that `import dotted` runs, as (module, path): those of its packages, then its own.

    Only modules below `folder`. A star at the end stands for all modules of a package.
    """
    files, parts = [], dotted.split(".")
    for end, part in enumerate(parts, 1):
        module, base = ".".join(parts[:end]), os.path.join(folder, *parts[:end])
        if f"{module}.".startswith(NOT_FOLLOWED):
            break
        if part == "*":
            names = sorted({path.stem for path in Path(base).parent.glob("*")})
            files += [f for n in names for f in _module_files(".".join([*parts[:-1], n]), folder)]
        for path in (os.path.join(base, "__init__.py"), f"{base}.py"):
            if os.path.isfile(path):
                files.append((module, path))
                break
    return files
