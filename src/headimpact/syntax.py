"""What one Python file contributes to a hash of code: its syntax tree, imports and tables."""

import ast
import hashlib
from collections.abc import Iterator, Set
from functools import cache
from typing import NamedTuple

from headimpact.guards import UserError
from headimpact.table_kinds import TABLES

# The functions of headimpact.artifacts that take the kind of a table.
TABLE_FUNCTIONS = ("read", "read_all", "write", "write_parts", "columns", "schema")
# Whether a name is read or assigned follows from its place; the others are comments, and the u
# of u"text".
IGNORED_FIELDS = ("ctx", "type_comment", "type_ignores", "kind")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Code(NamedTuple):
    """What `parse_file` finds in a file."""

    hash: str  # Of the syntax tree without docstrings; empty for a file without statements.
    imports: frozenset[tuple[int, str]]  # (dots, name); of `from x import y` both x and x.y.
    texts: frozenset[str]  # All string constants.
    kinds: frozenset[str]  # The kinds of tables that it names to functions of artifacts.


@cache
def parse_file(path: str, content: bytes) -> Code:
    """The Code of the Python file `path` with this content.

    Raises UserError, with file and line, if it is not valid Python.
    """
    try:
        tree = ast.parse(content)
    except SyntaxError as error:
        raise UserError(f"{path}: line {error.lineno}: {error.msg}; correct it") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path}: cannot be parsed as Python ({error}); correct it") from error
    nodes, words = _flatten(tree)
    constants = (node.value for node in nodes if isinstance(node, ast.Constant))
    texts = frozenset(value for value in constants if isinstance(value, str))
    return Code(
        hash=hashlib.sha256("\n".join(words).encode()).hexdigest() if tree.body else "",
        imports=frozenset(imported for node in nodes for imported in _imports(node)),
        texts=texts,
        kinds=frozenset(_kinds(nodes, texts)),
    )


def _flatten(tree: ast.Module) -> tuple[list[ast.AST], list[str]]:
    """The nodes of a tree, and words that are the same for trees of the same code alone.

    Takes the docstrings out of the tree. Without recursion, unlike ast.dump, since expressions
    may be nested deeply.
    """
    nodes, words, todo = [], [], [tree]
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            words.append(str(len(item)))
            todo += item
        elif isinstance(item, ast.AST):
            if isinstance(item, DOCUMENTED) and ast.get_docstring(item, clean=False) is not None:
                item.body = item.body[1:]
            words.append(type(item).__name__)
            nodes.append(item)
            todo += [getattr(item, field) for field in item._fields if field not in IGNORED_FIELDS]
        else:
            words.append(hex(item) if type(item) is int else repr(item))
    return nodes, words


def _imports(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Import):
        yield from ((0, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        yield node.level, module
        yield from ((node.level, f"{module}.{alias.name}".strip(".")) for alias in node.names)


def _kinds(nodes: list[ast.AST], texts: frozenset[str]) -> Set[str]:
    """The kinds in calls of TABLE_FUNCTIONS; all that the file names, if a use gives none."""
    functions = set()  # Under which names the file uses them.
    for node in nodes:
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            if alias.name.split(".")[-1] == "artifacts":
                owner = alias.asname or alias.name
                functions |= {f"{owner}.{name}" for name in TABLE_FUNCTIONS}
            elif isinstance(node, ast.ImportFrom) and f".{node.module}".endswith(".artifacts"):
                names = TABLE_FUNCTIONS if alias.name == "*" else [alias.name]
                functions |= {alias.asname or name for name in names if name in TABLE_FUNCTIONS}
    used = sum(_dotted_name(node) in functions for node in nodes)
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    given = [_arguments(node) for node in calls if _dotted_name(node.func) in functions]
    kinds = [TABLES.keys() & arguments for arguments in given]
    return set().union(*kinds) if used == sum(map(bool, kinds)) else texts & TABLES.keys()


def _arguments(call: ast.Call) -> set[object]:
    """The constants among the arguments of a call."""
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    return {value.value for value in values if isinstance(value, ast.Constant)}


def _dotted_name(node: ast.AST) -> str:
    """`a.b.c` for the expression a.b.c; empty for any other."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join(reversed([*names, node.id])) if isinstance(node, ast.Name) else ""
