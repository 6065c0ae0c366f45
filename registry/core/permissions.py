"""The one gate every act passes: `require(actor, "room.verb_noun", thing)`.

Rules are `rules` predicates over (actor, thing), registered in each room's `permissions.py` under a name whose
first part is the room. Whoever acts with scopes also needs the one of the permission (see `core.scopes`).
A permission nobody registered denies.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import rules

from registry.core import scopes
from registry.core.actors import Actor
from registry.core.errors import NotAllowed, NotSignedIn

_reasons: dict[str, str] = {}
_scopes: dict[str, str] = {}


def permission(name: str, predicate: Callable[..., bool], *, otherwise: str, scope: str = "") -> None:
    """Register a permission; `otherwise` is the sentence shown to whoever lacks it.

    `scope` is what a token needs for it, when that is a scope of its own.
    """
    rules.add_perm(name, predicate)
    _reasons[name] = otherwise
    if scope:
        _scopes[name] = scope


def scope_for(name: str) -> str:
    return _scopes.get(name) or scopes.scope_for(name)


def lacks(actor: Actor, scope: str) -> bool:
    """True when the actor has scopes and this one is not among them."""
    return actor.scopes is not None and not scopes.holds(actor.scopes, scope)


def lacking(actor: Actor, scope: str) -> NotAllowed:
    """The refusal that names the scope, and the shorthand that would do as well."""
    name, _, action = scope.rpartition(":")
    room, dot, _ = name.partition(".")
    part = f", which is part of {room}:{action}" if dot else ""
    return NotAllowed(f"This {actor.credential} lacks the scope {scope}{part}.")


def allows(actor: Actor, name: str, thing: Any = None) -> bool:
    if lacks(actor, scope_for(name)):
        return False
    if actor.is_system:
        return bool(rules.perm_exists(name))
    return bool(rules.perm_exists(name) and rules.has_perm(name, actor, thing))


def require(actor: Actor, name: str, thing: Any = None) -> None:
    """Raise `NotSignedIn` or `NotAllowed` (with the reason) unless `actor` may do `name` to `thing`."""
    if allows(actor, name, thing):
        return
    if actor.kind == "anonymous":
        raise NotSignedIn
    if lacks(actor, scope := scope_for(name)):
        raise lacking(actor, scope)
    raise NotAllowed(_reasons.get(name, f"Nobody may do this ({name} is not a known permission)."))


def has_role(*names: str) -> Callable[..., bool]:
    """Predicate: the actor holds one of these roles."""

    @rules.predicate(name=f"has_role:{'|'.join(names)}")
    def check(actor: Actor) -> bool:
        return actor.has_role(*names)

    return check  # type: ignore[no-any-return]


@rules.predicate
def is_member(actor: Actor) -> bool:
    """Any role makes a member; a signed-in person without one sees nothing."""
    return actor.is_system or bool(actor.roles)


@rules.predicate
def takes_part(actor: Actor) -> bool:
    """Any role but the auditor's: whoever only reads has nothing of their own in here to be audited."""
    return actor.takes_part


ONLY_READS = "An auditor only reads; ask an administrator for the role member."
"""What an auditor is told besides: that their role is not too little, but another."""


@dataclass(frozen=True)
class _Role:
    """Somebody with nothing but one role: what they may is what the role alone gives."""

    roles: tuple[str, ...]
    pk: None = None
    is_active: bool = True
    elevation: str = ""


class _Nothing:
    """A thing that nobody has a stake in, whatever one asks of it."""

    def __getattr__(self, _name: str) -> "_Nothing":
        return self

    def __call__(self, *_args: Any, **_facts: Any) -> "_Nothing":
        return self

    def __bool__(self) -> bool:
        return False

    def __iter__(self) -> Iterator[Any]:
        return iter(())


ROLES = ("member", "reviewer", "campaign_manager", "security", "auditor", "administrator")


def as_markdown() -> str:
    """Every permission: which role alone suffices, and the sentence that whoever lacks it reads."""
    lines = [
        f"| Permission | {' | '.join(role.replace('_', ' ') for role in ROLES)} | Who may, in words | Scope |",
        f"|---|{':-:|' * len(ROLES)}---|---|",
    ]
    for name in sorted(rules.permissions.permissions):
        marks = ["yes" if rules.has_perm(name, Actor.person(_Role((role,))), _Nothing()) else "" for role in ROLES]
        lines.append(f"| `{name}` | {' | '.join(marks)} | {_reasons.get(name, '')} | `{scope_for(name)}` |")
    return "\n".join(lines)
