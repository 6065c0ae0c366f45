"""Every question the product asks of whoever acts, by name, and a way to leave one out for a while.

A question is a statement that is nothing but a call of one of `ASKING`. Leaving it out does what removing its line
does, without a copy of the product, a new process or a new world.
"""

import ast
import importlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).with_name("questions.txt")
ROOT = Path(__file__).resolve().parents[2]
ASKING = ("require", "require_decider", "require_independent", "require_recent")


def _named(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, str, ast.Call]]:
    """(function, gate, call) of every question, in the order of the text."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield from _named(node, f"{inside}.{name}")
            case ast.Expr(value=ast.Call(func=ast.Name(id=gate)) as call) if gate in ASKING:
                yield inside, gate, call
            case _:
                yield from _named(node, inside)


@cache
def questions() -> dict[str, tuple[str, int]]:
    """`room.module.function gate permission` → file and line; one that is repeated in a function is numbered."""
    found: dict[str, tuple[str, int]] = {}
    for path in sorted((ROOT / "registry").rglob("*.py")):
        if "require" not in (source := path.read_text()):
            continue
        module = ".".join(path.relative_to(ROOT / "registry").with_suffix("").parts)
        seen: Counter[str] = Counter()
        for inside, gate, call in _named(ast.parse(source)):
            permission = ast.unparse(call.args[1]) if gate in ("require", "require_decider") else ""
            name = f"{module}{inside} {gate} {permission}".replace("'", "").rstrip()
            seen[name] += 1
            found[name if seen[name] == 1 else f"{name} {seen[name]}"] = (str(path), call.lineno)
    return found


class Gate:
    """Stands before each of `ASKING` wherever one was imported: notes what is asked, lets pass what is left out."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._names = {place: name for name, place in questions().items()}
        self._out: frozenset[str] = frozenset()

    def stand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for path in {path for path, _ in questions().values()}:
            parts = Path(path).relative_to(ROOT).with_suffix("").parts
            module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
            for gate in ASKING:
                if gate in vars(module):
                    monkeypatch.setattr(module, gate, partial(self._ask, vars(module)[gate]))

    def _ask(self, gate: Callable[..., None], *args: Any, **facts: Any) -> None:
        frame = sys._getframe(1)
        name = self._names.get((frame.f_code.co_filename, frame.f_lineno), "")
        if name:
            self.asked.append(name)
        if name not in self._out:
            gate(*args, **facts)

    @contextmanager
    def without(self, *names: str) -> Iterator[None]:
        self._out = frozenset(names)
        yield
        self._out = frozenset()


def tally() -> str:
    """What `questions.txt` (see removals.py) says, counted; and which of them no door can tell, with the reason."""
    rows = [line.split(" | ") for line in FILE.read_text().splitlines()]
    silent = [f"{row[0]}: {row[2]}" for row in rows if row[1] == "-"]
    together = sum(len(row) > 3 for row in rows)
    alone = len(rows) - len(silent) - together
    told = (
        f"{len(rows)} questions: {alone} told by a door, {together} together with others, {len(silent)} by none (above)"
    )
    return "\n".join([*silent, told])


if __name__ == "__main__":
    sys.stdout.write(f"{tally()}\n")
