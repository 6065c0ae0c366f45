"""What the explorer is asked, as a value: read from an address and written back into one.

Everything that decides what a page of the explorer shows stands here, so that any view of it can be shared,
bookmarked, exported and enhanced without a session remembering anything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import QueryDict
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as translate
from django.utils.translation import gettext_lazy as _

from registry.catalog.models import DataClass, Environment, Tier
from registry.core import clock
from registry.core.errors import Malformed

Ref = tuple[str, UUID]
"""A thing by kind and id: ("server", …)."""

MOST_OPENED = 40
"""Nodes and groups one address may open; a person reads no more, and each costs work."""

THINGS = ("agent", "server", "system", "secret_source", "issuer", "team", "person")
RELATIONSHIPS = ("grant", "connection")


class NotYet(Malformed):
    """A day to come was asked about."""


@dataclass(frozen=True)
class Ask:
    """A kind of question: how it begins, how it ends, and of which things it may be asked, the likeliest first."""

    begins: str | Promise
    ends: str | Promise
    of: tuple[str, ...]
    to: tuple[str, ...] = ()


ASKS: Mapping[str, Ask] = {
    "reaches": Ask(_("Who reaches"), _("?"), ("system",)),
    "reach": Ask(_("Reach of"), "", ("agent", "server", "secret_source", "issuer", "team", "person")),
    "cut": Ask(
        _("What breaks without"),
        _("?"),
        ("server", "agent", "system", "secret_source", "issuer", "team", "person", *RELATIONSHIPS),
    ),
    "path": Ask(_("Path from"), "", ("agent", "server"), ("system", "server")),
    "around": Ask(_("What is around"), _("?"), ("server", "agent", "system", "secret_source")),
}

BASES = {"granted": _("Granted"), "observed": _("Observed"), "both": _("Both")}
GROUPS = {"auto": _("When large"), "team": _("By team"), "kind": _("By kind"), "none": _("Never")}
COLOURS = {"": _("By risk"), "certification": _("By certification")}
STATUSES = {"active": _("In force"), "suspended": _("Suspended"), "requested": _("Requested")}
CERTIFIED = {"yes": _("Certified"), "no": _("Not certified")}


@dataclass(frozen=True)
class Question:
    """One view of the explorer. Empty collections restrict nothing; `as_of` is None for now."""

    ask: str = ""
    of: str = ""
    to: str = ""
    on: date | None = None
    basis: str = "granted"
    tiers: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    certified: str = ""
    group: str = "auto"
    opened: tuple[str, ...] = ()
    expanded: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    selected: str = ""
    path: int | None = None
    colour: str = ""
    table: bool = False

    # --- Reading -----------------------------------------------------------------------------------------

    @classmethod
    def read(cls, query: QueryDict) -> "Question":
        """From an address. Raises `Malformed` for a value that means nothing: it must not answer something else."""
        unknown = set(query) - set(NAMES.values()) - {"view", *REPEATED.values()}
        if unknown:
            name = sorted(unknown)[0]
            raise Malformed(translate("The explorer has no question called “%(name)s”.") % {"name": name})
        return cls(
            ask=_one(query, "ask", ASKS),
            of=query.get("of", "").strip()[:300],
            to=query.get("to", "").strip()[:300],
            on=day_of(query.get("on", "")),
            basis=_one(query, "basis", BASES) or "granted",
            tiers=_some(query, "tier", Tier.values),
            data=_some(query, "data", DataClass.values),
            environments=_some(query, "env", Environment.values),
            teams=_some(query, "team"),
            statuses=_some(query, "status", STATUSES),
            certified=_one(query, "certified", CERTIFIED),
            group=_one(query, "group", GROUPS) or "auto",
            opened=_some(query, "open"),
            expanded=_some(query, "more"),
            folded=_some(query, "fold"),
            selected=query.get("sel", "")[:100],
            path=_number(query.get("path", "")),
            colour=_one(query, "colour", COLOURS),
            table=_one(query, "view", {"table": ""}) == "table",
        )

    # --- Writing -----------------------------------------------------------------------------------------

    def query(self) -> str:
        """The shortest address that asks exactly this, without the question mark."""
        pairs: list[tuple[str, str]] = []
        for field, name in NAMES.items():
            value = getattr(self, field)
            if value == getattr(UNASKED, field):
                continue
            values = value if isinstance(value, tuple) else (value,)
            pairs += [(name, each.isoformat() if isinstance(each, date) else str(each)) for each in values]
        if self.table:
            pairs.append(("view", "table"))
        return urlencode(pairs, safe=":,")

    def but(self, **changes: Any) -> "Question":
        return replace(self, **changes)

    def hidden_fields(self, *left_out: str) -> list[tuple[str, str]]:
        """Name and value of everything asked, for a form that asks for the fields `left_out` itself."""
        rest = self.but(**{field: getattr(UNASKED, field) for field in left_out})
        return [(name, value) for name, values in QueryDict(rest.query()).lists() for value in values]

    # --- Opening and closing -----------------------------------------------------------------------------

    def expanding(self, key: str) -> "Question":
        return self.but(expanded=_with(self.expanded, key), folded=_without(self.folded, key))

    def folding(self, key: str) -> "Question":
        return self.but(expanded=_without(self.expanded, key), folded=_with(self.folded, key))

    def opening(self, key: str) -> "Question":
        selected = "" if self.selected == key else self.selected  # an open group is no longer there
        return self.but(opened=_with(self.opened, key), selected=selected)

    def closing(self, key: str) -> "Question":
        """Undo opening, expanding or folding `key`."""
        return self.but(
            opened=_without(self.opened, key),
            expanded=_without(self.expanded, key),
            folded=_without(self.folded, key),
        )

    def selecting(self, key: str) -> "Question":
        return self.but(selected=key)

    # --- Meaning -----------------------------------------------------------------------------------------

    @property
    def as_of(self) -> datetime | None:
        """The end of the day asked for; today means now."""
        if self.on is None or self.on >= clock.today():
            return None
        return timezone.make_aware(datetime.combine(self.on + timedelta(days=1), time.min))

    @property
    def complete(self) -> bool:
        """Whether there is a question with everything it needs."""
        return bool(self.ask and self.of and (self.to or self.ask != "path"))

    @property
    def narrowed(self) -> bool:
        return bool(self.tiers or self.data or self.environments or self.teams or self.statuses or self.certified)

    def widened(self) -> "Question":
        """The same question without facets."""
        return self.but(tiers=(), data=(), environments=(), teams=(), statuses=(), certified="")


NAMES: Mapping[str, str] = {
    "ask": "ask",
    "of": "of",
    "to": "to",
    "on": "on",
    "basis": "basis",
    "tiers": "tier",
    "data": "data",
    "environments": "env",
    "teams": "team",
    "statuses": "status",
    "certified": "certified",
    "group": "group",
    "opened": "open",
    "expanded": "more",
    "folded": "fold",
    "selected": "sel",
    "path": "path",
    "colour": "colour",
}
"""Field → parameter of the address."""

REPEATED = {"of": "of_was", "to": "to_was"}
"""A field that shows a name says with the second parameter whose name it was: several things may share it."""

UNASKED = Question()


def key_of(ref: Ref) -> str:
    return f"{ref[0]}:{ref[1]}"


def ref_of(key: str) -> Ref | None:
    """A thing by its key "kind:uuid"; None for a group, or for a name somebody typed."""
    kind, _colon, text = key.partition(":")
    if kind not in THINGS and kind not in RELATIONSHIPS:
        return None
    try:
        return kind, UUID(text)
    except ValueError:
        return None


def refs(keys: Iterable[str]) -> list[Ref]:
    return [ref for key in keys if (ref := ref_of(key)) is not None]


def _with(values: tuple[str, ...], value: str) -> tuple[str, ...]:
    return values if value in values else (*values, value)[-MOST_OPENED:]


def _without(values: tuple[str, ...], value: str) -> tuple[str, ...]:
    return tuple(each for each in values if each != value)


def _meaningless(name: str, value: str) -> Malformed:
    words = translate("“%(name)s” cannot be “%(value)s”.") % {"name": name, "value": value[:60]}
    return Malformed(words, fields={name: [words]})


def _one(query: QueryDict, name: str, known: Iterable[str]) -> str:
    value = query.get(name, "")
    if value and value not in known:
        raise _meaningless(name, value)
    return value


def _some(query: QueryDict, name: str, known: Iterable[str] | None = None) -> tuple[str, ...]:
    values = tuple(dict.fromkeys(value[:100] for value in query.getlist(name) if value))[:MOST_OPENED]
    for value in values:
        if known is not None and value not in known:
            raise _meaningless(name, value)
    return values


def day_of(text: str, name: str = "on") -> date | None:
    """The day a field `name` holds. Raises `Malformed`, of which `NotYet` is a day to come."""
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise _meaningless(name, text) from error
    if day > clock.today():
        words = translate("Choose today or a day in the past: nobody knows yet how things will stand.")
        raise NotYet(words, fields={name: [words]})
    return day


def _number(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or len(text) > 3:
        raise _meaningless("path", text)
    return int(text)
