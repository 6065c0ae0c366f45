"""What several pages of trust share: how things are looked up, and whether one may decide about them."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from registry.core.actors import Actor
from registry.core.errors import NotFound
from registry.core.independence import bars
from registry.core.permissions import allows, require
from registry.trust.models import Connection, Grant
from registry.trust.states import Status

NAV = "trust"
MODELS: dict[str, type[Grant] | type[Connection]] = {"grant": Grant, "connection": Connection}
ENDS = {
    "grant": ("agent", "agent__server", "agent__owner", "server", "server__owner", "server__team"),
    "connection": ("server", "server__owner", "server__team", "system", "system__owner", "secret_source"),
}


@dataclass(frozen=True)
class Verdict:
    """Whether somebody may decide on a request. `barred` says what they are to it, completing "you …"."""

    may_approve: bool
    may_refuse: bool
    barred: list[str]
    lacks_role: bool


def verdict(actor: Actor, thing: Grant | Connection) -> Verdict:
    barred = bars(actor.user_id, thing)
    permitted = allows(actor, f"trust.approve_{thing.kind}", thing)
    return Verdict(
        may_approve=permitted and not barred,
        may_refuse=allows(actor, "trust.refuse_relationship", thing),
        barred=barred,
        lacks_role=not permitted,
    )


def visible(actor: Actor, kind: str, pk: UUID) -> Any:
    """The relationship, or `NotFound`: what one may not see does not exist."""
    require(actor, "trust.view")
    people = ("requested_by", "decided_by", *(("purpose",) if kind == "grant" else ()))
    found = MODELS[kind].objects.visible_to(actor).select_related(*ENDS[kind], *people).filter(pk=pk).first()
    if found is None:
        raise NotFound
    return found


def requested(actor: Actor, kind: str) -> QuerySet[Any]:
    return (
        MODELS[kind]
        .objects.visible_to(actor)
        .filter(status=Status.REQUESTED)
        .select_related("requested_by", *ENDS[kind])
    )


def waiting_for_decision(actor: Actor) -> dict[str, int]:
    """How many requests wait, per kind; past a thousand nobody counts."""
    return {kind: requested(actor, kind).order_by()[:1000].count() for kind in MODELS}


class Echo:
    """What csv.writer writes to, when the line itself is wanted."""

    def write(self, line: str) -> str:
        return line
