"""What a machine's credential may be used for, per resource and action: `catalog.servers:write`.

Each room names its resources beside its permissions, with the acts that change them and the REST routes that show
them. `catalog:write` stands for every resource of that room. A scope never gives more than its owner has: it narrows.

Two rules make every question answerable:
- a permission that changes something needs exactly one scope, that of its resource;
- a permission named `view…` needs `room:read`, the door, which any reading scope of that room opens. Which resource may
  be read is asked where resources are, at the REST route.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from django.utils.functional import Promise

Action = Literal["read", "write"]
MORE = ("read", "write")


@dataclass(frozen=True)
class Resource:
    """`name` is `room.things`. Without acts it can only be read."""

    name: str
    words: "str | Promise"
    acts: frozenset[str]
    routes: frozenset[str]

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]

    def scope(self, action: Action) -> str:
        return f"{self.name}:{action}"

    @property
    def scopes(self) -> list[str]:
        return [self.scope("read"), *([self.scope("write")] if self.acts else [])]


_resources: dict[str, Resource] = {}
_of_act: dict[str, str] = {}
_apart: dict[str, "str | Promise"] = {}


def resource(name: str, words: "str | Promise", *, acts: str = "", routes: str = "") -> None:
    """Declare `room.things`. `acts` are names of permissions without the room, `routes` of REST resources."""
    room = name.partition(".")[0]
    made = Resource(name, words, frozenset(f"{room}.{act}" for act in acts.split()), frozenset(routes.split()))
    _resources[name] = made
    for act in made.acts:
        if _of_act.setdefault(act, name) != name:
            raise ValueError(f"{act} belongs to {_of_act[act]} and to {name}")
    resource_of.cache_clear()


def set_apart(scope: str, words: "str | Promise") -> None:
    """A scope that no shorthand contains: whoever wants it names it."""
    _apart[scope] = words


def resources() -> list[Resource]:
    return sorted(_resources.values(), key=lambda each: each.name)


def rooms() -> list[str]:
    return sorted({each.room for each in _resources.values()})


def shorthands() -> list[str]:
    """`room:read` and `room:write`, the latter where there is anything to write."""
    writable = {each.room for each in _resources.values() if each.acts}
    return [f"{room}:{action}" for room in rooms() for action in MORE if action == "read" or room in writable]


def known() -> dict[str, "str | Promise"]:
    """Every scope a credential can carry, with its words."""
    found: dict[str, str | Promise] = {}
    for room in rooms():
        own = [each for each in resources() if each.room == room]
        for scope in (each for each in shorthands() if each.startswith(f"{room}:")):
            action = scope.partition(":")[2]
            found[scope] = ", ".join(str(each.words) for each in own if action == "read" or each.acts)
        found |= {scope: each.words for each in own for scope in each.scopes}
    return found | _apart


def expand(scopes: Iterable[str]) -> tuple[set[str], list[str]]:
    """(scopes as they are stored, those that do not exist). `read` and `write` stand for every room's."""
    stored: set[str] = set()
    strange: list[str] = []
    every, names = shorthands(), known()
    for scope in scopes:
        if scope in MORE:
            stored.update(name for name in every if name.endswith(f":{scope}"))
        elif scope in names:
            stored.add(scope)
        else:
            strange.append(scope)
    return stored, strange


def scope_for(permission: str) -> str:
    """The one scope that a permission needs of whoever has scopes."""
    room, _, act = permission.partition(".")
    if act.startswith("view"):
        return f"{room}:read"
    return f"{_of_act.get(permission, room)}:write"


def holds(scopes: Collection[str], wanted: str) -> bool:
    """Whether `wanted` is among `scopes`, by itself or within a shorthand. `room:action` is the door of a room."""
    if wanted in scopes:
        return True
    name, _, action = wanted.rpartition(":")
    room, dot, _ = name.partition(".")
    if dot:
        return f"{room}:{action}" in scopes
    return action in MORE and any(scope.startswith(f"{room}.") and scope.endswith(f":{action}") for scope in scopes)


def covers(scopes: Collection[str], wanted: str) -> bool:
    """Whether whoever has `scopes` may hand on `wanted`: a shorthand only with everything in it."""
    if wanted in scopes:
        return True
    room, _, action = wanted.partition(":")
    if "." in room:
        return f"{room.partition('.')[0]}:{action}" in scopes
    ours = (each for each in _resources.values() if each.room == room)
    inside = [scope for each in ours for scope in each.scopes if scope.endswith(f":{action}")]
    return bool(inside) and all(scope in scopes for scope in inside)


@lru_cache(maxsize=1024)
def resource_of(room: str, route: str) -> str:
    """The resource a REST URL belongs to, by its name (`server-list`, `trust-blast-radius`), or "" for none."""
    fitting = [
        (len(start), each.name)
        for each in _resources.values()
        if each.room == room
        for start in each.routes
        if route == start or route.startswith(f"{start}-")
    ]
    return max(fitting)[1] if fitting else ""


def as_markdown() -> str:
    """Every resource with its acts, as docs/machines.md shows them."""
    lines = ["| Resource | What it is | Acts that need its `:write` |", "|---|---|---|"]
    for each in resources():
        acts = ", ".join(f"`{act.partition('.')[2]}`" for act in sorted(each.acts)) or "none, it is only read"
        lines.append(f"| `{each.name}` | {each.words} | {acts} |")
    return "\n".join(lines)
