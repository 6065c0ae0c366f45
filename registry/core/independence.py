"""Nobody approves, certifies or waives what they own, deputise, created, requested or operate (DESIGN, invariant 3).

A governed thing names its interested people in `interested`: what they are to it → user id.
"""

from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from registry.core.actors import Actor
from registry.core.errors import NotIndependent
from registry.core.permissions import require


class Decidable(Protocol):
    @property
    def interested(self) -> Mapping[str, UUID | None]: ...


def bars(user_id: UUID | None, thing: Decidable) -> list[str]:
    """Why this person may not decide on `thing`, as words that complete "because this person …"; empty when free."""
    return [bar for bar, person in thing.interested.items() if person is not None and person == user_id]


_SPOKEN_TO = {"owns": "own", "deputises": "deputise", "operates": "operate", "leads": "lead", "has": "have"}


def spoken_to(bar: str) -> str:
    """A bar as it is said to the person themselves: `owns the agent` reads `own the agent` after "you"."""
    verb, space, rest = bar.partition(" ")
    return f"{_SPOKEN_TO.get(verb, verb)}{space}{rest}"


def require_independent(actor: Actor, thing: Decidable) -> None:
    """Raise `NotIndependent` with every reason. Only people are independent: the system decides nothing."""
    if actor.user_id is None:
        raise NotIndependent("Only a named person can decide this.")
    if reasons := bars(actor.user_id, thing):
        raise NotIndependent(f"{thing} must be decided by somebody else: {actor.label} {' and '.join(reasons)}.")


def require_decider(actor: Actor, permission: str, thing: Decidable) -> None:
    """The permission and independence at once. A stake is named before a missing role: it is the better reason."""
    if actor.user_id is not None and bars(actor.user_id, thing):
        require_independent(actor, thing)
    require(actor, permission, thing)
    require_independent(actor, thing)
