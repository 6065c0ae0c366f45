"""Views and REST resources read governed things only through `visible_to` (DESIGN, invariant 9)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "registry"
DOORS = ("views", "api", "forms", "filters")
GOVERNED = {"Server", "System", "Agent", "Grant", "Connection", "Item"}
"""Models whose rows not everybody may see. What hangs on them (tools, purposes, …) is reached through them."""
READ_BY = {"visible_to", "one_visible_to", "none"}


def doors() -> list[Path]:
    found = [path for name in DOORS for path in ROOT.glob(f"*/{name}.py")]
    return sorted([*found, *(path for name in DOORS for path in ROOT.glob(f"*/{name}/*.py"))])


def chain(node: ast.AST) -> list[str]:
    """The names of `Model.objects.filter(…).visible_to(…)`, from left to right."""
    match node:
        case ast.Name(id=name):
            return [name]
        case ast.Attribute(value=value, attr=name):
            return [*chain(value), name]
        case ast.Call(func=function):
            return chain(function)
        case ast.Subscript(value=value):
            return chain(value)
    return []


def bypasses(source: str) -> list[str]:
    """Every use of a governed model's manager whose chain says none of `READ_BY` (`none` shows nothing)."""
    tree = ast.parse(source)
    inner = {id(child) for node in ast.walk(tree) for child in nested(node)}
    found = []
    for node in ast.walk(tree):
        if id(node) in inner or not isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
            continue
        names = chain(node)
        governed = len(names) > 1 and names[0] in GOVERNED and names[1] in ("objects", "_default_manager")
        if governed and not READ_BY & set(names):
            found.append(f"line {node.lineno}: {'.'.join(names)}")
    return found


def nested(node: ast.AST) -> list[ast.AST]:
    """The part of a chain that a longer chain continues."""
    match node:
        case ast.Attribute(value=value) | ast.Subscript(value=value):
            return [value]
        case ast.Call(func=function):
            return [function]
    return []


@pytest.mark.parametrize("path", doors(), ids=lambda path: str(path.relative_to(ROOT)))
def test_governed_things_are_read_with_the_eyes_of_the_actor(path):
    assert bypasses(path.read_text()) == []


def test_a_bypass_is_found():
    assert bypasses("Server.objects.filter(pk=1)") == ["line 1: Server.objects.filter"]
    assert bypasses("x = Grant.objects.all()[:5]") == ["line 1: Grant.objects.all"]
    assert bypasses("Server.objects.filter(pk=1).visible_to(actor).first()") == []
    assert bypasses("Item.objects.filter(stage=1).one_visible_to(actor, pk)") == []
    assert bypasses("queryset = Server.objects.none()") == []
