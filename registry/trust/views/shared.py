"""What several pages of trust share: how things are looked up, and whether one may decide about them."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.template.defaultfilters import date as format_date
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import NotFound
from registry.core.http import Request
from registry.core.independence import bars
from registry.core.permissions import allows, require
from registry.trust.models import Connection, Grant
from registry.trust.queries.past import records_begin
from registry.trust.question import NotYet, Question, day_of
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


@dataclass(frozen=True)
class AskedDay:
    """The day a page is asked about, by `?on=`; a day to come is refused beside its field and answered with now."""

    day: date | None
    wrong: str
    before_records: str

    @classmethod
    def read(cls, request: Request, name: str = "on") -> "AskedDay":
        """Raises `Malformed` for what is no day."""
        try:
            day = day_of(request.GET.get(name, ""), name)
        except NotYet as error:
            return cls(None, error.fields[name][0], "")
        begin = records_begin() if day else None
        asked = Question(on=day).as_of
        if not (begin and asked and asked < begin):
            return cls(day, "", "")
        words = _("Nothing was recorded before %(day)s.") % {"day": format_date(localtime(begin), "j F Y")}
        return cls(day, "", words)

    @property
    def instant(self) -> datetime | None:
        """The end of the day; None for now."""
        return Question(on=self.day).as_of

    @property
    def today(self) -> str:
        return clock.today().isoformat()

    @property
    def status(self) -> int:
        return 422 if self.wrong else 200
