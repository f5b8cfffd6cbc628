"""What a field of a type, or a name of a module, means: the text below it in the source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise
from types import ModuleType


def meanings(owner: type | ModuleType) -> dict[str, str]:
    """Return the meaning of each name that has one; of a type with those that it inherits."""
    if isinstance(owner, ModuleType):
        return _texts(ast.parse(inspect.getsource(owner)).body)
    found: dict[str, str] = {}
    for one in reversed(owner.__mro__[:-1]):
        if one.__module__.startswith("lastspan."):
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
            assert isinstance(tree, ast.ClassDef)
            found |= _texts(tree.body)
    return found


def _texts(body: list[ast.stmt]) -> dict[str, str]:
    found = {}
    for declared, text in pairwise(body):
        match declared, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                found[name] = " ".join(meaning.split())
    return found
