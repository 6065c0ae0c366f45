"""Every act passes the gate (DESIGN: `require(actor, "room.verb_noun", thing)` before anything is changed).

An act is a public function of a room's services that takes the actor. It is guarded when it asks the gate itself, or
calls a guarded function, in a statement that always runs. What does neither stands in `UNGUARDED` with its reason, or
is a step: called by services alone, on behalf of an act that was asked for.
"""

import ast
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import rules.permissions

from registry.core.scopes import known, scope_for

ROOT = Path(__file__).resolve().parents[2] / "registry"
GATES = {"require", "require_decider"}
FILE = Path(__file__).with_name("acts.txt")
ASKING = GATES | {"allows"}
ROOM = re.compile(r"registry\.(\w+)")
SERVICES = re.compile(r"registry\.(\w+)\.services\b")

UNGUARDED = {
    "accounts.decides_alone": "reads whether anybody else could confirm",
    "audit.record": "evidence of an act that was asked for",
    "audit.record_access": "evidence that somebody looked",
    "audit.record_export": "evidence that somebody took a list away",
    "catalog.resume_server": "asks in both branches: the permission, or independence after the review's own question",
    "trust.resume_relationship": "asks in both branches, like catalog.resume_server",
    "reviews.drafts_of_bulk": "reads the actor's own drafts",
    "reviews.second_looks_for": "reads, and leaves out what the actor has a stake in",
    "reviews.why_nothing": "reads the actor's own signatures",
    "reviews.note_shown": "does nothing for whoever may not decide",
    "reviews.note_opened": "does nothing for whoever may not decide",
}
"""Acts that no gate precedes, each with its reason."""


@dataclass(frozen=True)
class Function:
    room: str
    module: str
    node: ast.FunctionDef

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def is_act(self) -> bool:
        arguments = self.node.args
        return not self.name.startswith("_") and "actor" in {
            each.arg for each in (*arguments.args, *arguments.kwonlyargs)
        }


def services() -> list[Path]:
    return sorted([*ROOT.glob("*/services.py"), *ROOT.glob("*/services/*.py")])


@cache
def functions() -> list[Function]:
    return [
        Function(path.relative_to(ROOT).parts[0], path.stem, node)
        for path in services()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    ]


def always(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Every expression of a block that runs whatever the data are."""
    for statement in body:
        match statement:
            case ast.If(test=test) | ast.While(test=test):
                yield test
            case ast.For(iter=iterated, body=inner):
                yield iterated
                yield from always(inner)  # nothing to do for nothing
            case ast.With(items=items, body=inner):
                yield from (item.context_expr for item in items)
                yield from always(inner)
            case ast.Try(body=inner):
                yield from always(inner)
            case ast.FunctionDef() | ast.ClassDef():
                pass
            case _:
                yield statement


def called(node: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for each in ast.walk(node):
        match each:
            case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
                yield name, each


@cache
def guarded() -> frozenset[tuple[str, str]]:
    """(room, function) of everything that always passes a gate, by itself or through what it calls in its room."""
    calls = {
        (each.room, each.module, each.name): {name for part in always(each.node.body) for name, _ in called(part)}
        for each in functions()
    }
    found = {(room, name) for (room, _, name), names in calls.items() if names & GATES}
    while True:
        more = {
            (room, name) for (room, _, name), names in calls.items() if any((room, each) in found for each in names)
        }
        if more <= found:
            return frozenset(found)
        found |= more


@cache
def reached() -> frozenset[tuple[str, str]]:
    """(room, function) of everything in services that is named outside them."""
    found: set[tuple[str, str]] = set()
    for path in ROOT.rglob("*.py"):
        if path in services():
            continue
        tree = ast.parse(path.read_text())
        modules = {}
        for node in ast.walk(tree):
            match node:
                case ast.ImportFrom(module=str(module), names=names) if source := SERVICES.match(module):
                    found |= {(source[1], each.name) for each in names}
                    modules |= {each.asname or each.name: source[1] for each in names}
                case ast.ImportFrom(module=str(module), names=names) if room := ROOM.fullmatch(module):
                    modules |= {each.asname or each.name: room[1] for each in names if each.name == "services"}
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(value=ast.Name(id=module), attr=name) if module in modules:
                    found.add((modules[module], name))
    return frozenset(found)


def acts() -> list[Function]:
    """Public functions that take the actor and are called by something other than services."""
    return [each for each in functions() if each.is_act and (each.room, each.name) in reached()]


def where(each: Function) -> str:
    return f"{each.room}.{each.name}"


@cache
def words() -> dict[str, list[str]]:
    """Every text of the product's code outside permissions.py → files; a formatted one with `*` for what is filled in.

    A constant, a parameter's default or a table may stand between a permission and its gate, hence any text counts.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for path in ROOT.rglob("*.py"):
        if path.name in ("permissions.py", "0001_initial.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Constant(value=str(text)):
                    found[text].append(str(path.relative_to(ROOT)))
                case ast.JoinedStr(values=parts):
                    text = "".join(part.value if isinstance(part, ast.Constant) else "*" for part in parts)
                    found[text].append(str(path.relative_to(ROOT)))
    return found


def asked_for(node: ast.AST) -> Iterator[str]:
    """The permissions a function names where it asks, and what else it asks of whoever acts."""
    for name, call in called(node):
        if name in ("require_recent", "require_independent", "require_decider"):
            yield name
        if name in GATES and len(call.args) > 1:
            yield ast.unparse(call.args[1]).strip("'\"")
            continue
        # A gate that a helper passes on: the helper is told the name.
        yield from (
            argument.value
            for argument in (*call.args, *(keyword.value for keyword in call.keywords))
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and is_permission(argument.value)
        )


def is_permission(text: str) -> bool:
    return text in rules.permissions.permissions


def gates_of(act: Function) -> str:
    """Everything an act asks of whoever acts, by itself and through the helpers of its room that are no acts."""
    by_name = defaultdict(list)
    for each in functions():
        if each.room == act.room:
            by_name[each.name].append(each)
    open_to = {where(each) for each in acts()}
    found: list[str] = []
    waiting, seen = [act], {act.name}
    while waiting:
        node = waiting.pop().node
        found += asked_for(node)
        for name, _ in called(node):
            if name not in seen:
                seen.add(name)
                waiting += [each for each in by_name[name] if where(each) not in open_to]
    # With repeats: what is asked in two places is asked in both.
    return " ".join(sorted(found))


def bare() -> set[str]:
    return {where(each) for each in acts() if (each.room, each.name) not in guarded()}


def asked() -> list[str]:
    """A line per act: its name, and what it asks."""
    return [f"{where(each)}: {gates_of(each)}" for each in sorted(acts(), key=where)]


def test_every_act_passes_the_gate():
    assert bare() == set(UNGUARDED), "add require(…) to the act, or its reason to UNGUARDED"


def test_every_act_asks_what_is_written():
    """What each act asks, so that none of several questions disappears unseen. PERMISSION_MATRIX=write writes it."""
    found = asked()
    if os.environ.get("PERMISSION_MATRIX") == "write":
        FILE.write_text("\n".join(found) + "\n")
    assert found == FILE.read_text().splitlines()


def test_every_permission_that_is_asked_for_is_registered():
    asked = {
        argument.value
        for path in ROOT.rglob("*.py")
        for name, call in called(ast.parse(path.read_text()))
        if name in ASKING
        for argument in call.args[1:2]
        if isinstance(argument, ast.Constant)
    }
    assert len(asked) > 50
    assert {each for each in asked if not is_permission(each)} == set()


def test_every_registered_permission_is_asked_for():
    patterns = [re.compile(re.escape(text).replace(r"\*", r"\w+")) for text in words() if "*" in text and "." in text]
    unused = {
        each
        for each in rules.permissions.permissions
        if each not in words() and not any(pattern.fullmatch(each) for pattern in patterns)
    }
    assert unused == set()


def test_every_permission_has_a_scope():
    assert {each: scope_for(each) for each in rules.permissions.permissions if scope_for(each) not in known()} == {}
