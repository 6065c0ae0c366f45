"""The one gate every act passes: `require(actor, "room.verb_noun", thing)`.

Rules are `rules` predicates over (actor, thing), registered in each room's `permissions.py` under a name whose
first part is the room. A token also needs the scope `room:read` (permissions named `view_…`) or `room:write`.
A permission nobody registered denies.
"""

from collections.abc import Callable
from typing import Any

import rules

from registry.core.actors import Actor
from registry.core.errors import NotAllowed, NotSignedIn

_reasons: dict[str, str] = {}


def permission(name: str, predicate: Callable[..., bool], *, otherwise: str) -> None:
    """Register a permission; `otherwise` is the sentence shown to whoever lacks it."""
    rules.add_perm(name, predicate)
    _reasons[name] = otherwise


def scope_for(name: str) -> str:
    room, _, act = name.partition(".")
    return f"{room}:{'read' if act.startswith('view') else 'write'}"


def allows(actor: Actor, name: str, thing: Any = None) -> bool:
    if actor.scopes is not None and scope_for(name) not in actor.scopes:
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
    scope = scope_for(name)
    if actor.scopes is not None and scope not in actor.scopes:
        raise NotAllowed(f"This token lacks the scope {scope}.")
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
