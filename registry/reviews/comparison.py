"""What changed between two states of the evidence, in words; and three of them side by side.

Evidence is what `Item.evidence` and `Evidence.evidence` give: facts with their rows filled in, and context.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from registry.catalog.models import Agent, DataClass, Environment, SecretSource, ToolClass
from registry.reviews.facts import Json
from registry.trust.models import Connection, Grant

Sign = Literal["add", "mod", "rem"]


@dataclass(frozen=True)
class Change:
    """`what` names the thing (a tool, a system, a field), `detail` says before and after.

    `before` and `after` are what somebody wrote, where that is what changed: too long for a line, not ours to trust.
    """

    sign: Sign
    kind: str
    what: str
    detail: str = ""
    before: str = ""
    after: str = ""

    @property
    def mark(self) -> str:
        return {"add": "+", "mod": "~", "rem": "−"}[self.sign]

    def __str__(self) -> str:
        words = f"{self.kind} {self.what}".strip()
        return f"{self.mark} {words}: {self.detail}" if self.detail else f"{self.mark} {words}"


STANDS_FOR_OTHERS = frozenset({"kind", "identity", "tool_names", "definitions", "reach"})
"""Facts that only repeat or summarise others, which are compared one by one."""


def changes(before: Json, after: Json) -> list[Change]:
    """Every difference of material facts; empty when the fingerprints are equal."""
    names = {**before["context"]["names"], **after["context"]["names"]}
    old, new = before["facts"], after["facts"]
    found: list[Change] = []
    for key in sorted({*old, *new} - STANDS_FOR_OTHERS, key=_order):
        if old.get(key) == new.get(key):
            continue
        section = SECTIONS.get(key)
        if key == "tools":
            told = _descriptions(before["context"]), _descriptions(after["context"])
            found.extend(_tools(old.get(key) or [], new.get(key) or [], *told))
        elif section is not None:
            found.extend(section(old.get(key) or [], new.get(key) or [], names))
        elif key == "purpose" and isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
            found.extend(_purpose(old[key], new[key]))
        else:
            found.append(_field(key, old.get(key), new.get(key), names))
    return found


# --- Lists of things, told apart by a key ----------------------------------------------------------------

Rows = list[Any]
Names = Mapping[str, str]


def _paired(old: Rows, new: Rows, key: Callable[[Any], str]) -> Iterator[tuple[Any, Any]]:
    before, after = {key(row): row for row in old}, {key(row): row for row in new}
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield before.get(name), after.get(name)


def _descriptions(context: Json) -> dict[str, str]:
    """What each tool says it does, as far as it was recorded: its first 300 characters."""
    return {note["name"]: note["description"] for note in context.get("tools") or ()}


def _tools(old: Rows, new: Rows, said: Names, says: Names) -> Iterator[Change]:
    for before, after in _paired(old, new, lambda row: str(row["name"])):
        if before is None:
            yield Change("add", _("Tool"), after["name"], _class(after["class"]))
        elif after is None:
            yield Change("rem", _("Tool"), before["name"], _class(before["class"]))
        else:
            name = after["name"]
            was, now = said.get(name, ""), says.get(name, "")
            detail = "; ".join(_redefined(before, after, was, now))
            yield Change("mod", _("Tool"), name, detail, *((was, now) if was != now else ()))


def _redefined(before: Json, after: Json, was: str, now: str) -> Iterator[str]:
    """What about a tool's definition changed. Of the definition its class and its description are recorded in words,
    everything else as a digest.
    """
    if before["class"] != after["class"]:
        words = {"before": _class(before["class"]), "after": _class(after["class"])}
        yield _("%(before)s became %(after)s") % words
    if was != now:
        yield _("its description changed")
    elif before["digest"] != after["digest"]:
        yield _("its definition changed elsewhere than in the description: its parameters or hints")


def _systems(old: Rows, new: Rows, names: Names) -> Iterator[Change]:
    for before, after in _paired(old, new, lambda row: str(row["system"])):
        row = after or before
        name = names.get(row["system"], row["system"])
        if before is None or after is None:
            yield Change("add" if before is None else "rem", _("System"), name, _access(row))
            continue
        parts = []
        if before["data_class"] != after["data_class"]:
            parts.append(
                _("went from %(before)s to %(after)s data")
                % {"before": _data_class(before["data_class"]), "after": _data_class(after["data_class"])}
            )
        if before["access"] != after["access"]:
            parts.append(_before_after(_level(before["access"]), _level(after["access"])))
        if before["scopes"] != after["scopes"]:
            parts.append(_list_difference(before["scopes"], after["scopes"]))
        if before["environment"] != after["environment"]:
            parts.append(_before_after(_environment(before["environment"]), _environment(after["environment"])))
        if before["secret_source"] != after["secret_source"]:
            parts.append(_("with another secret source"))
        yield Change("mod", _("System"), name, "; ".join(parts))


def _sources(old: Rows, new: Rows, names: Names) -> Iterator[Change]:
    for before, after in _paired(old, new, lambda row: f"{row['kind']}:{row['reference']}:{row['name']}"):
        row = after or before
        what = row["reference"] or _("no credential")
        if before is None or after is None:
            yield Change("add" if before is None else "rem", _("Secret source"), what, row["credential_type"])
        else:
            fields = [name for name in after if before.get(name) != after[name]]
            detail = "; ".join(_before_after(before.get(name), after[name]) for name in fields)
            yield Change("mod", _("Secret source"), what, detail)


def _endpoints(old: Rows, new: Rows, names: Names) -> Iterator[Change]:
    for before, after in _paired(old, new, lambda row: str(row["uri"])):
        row = after or before
        sign: Sign = "add" if before is None else "rem" if after is None else "mod"
        yield Change(sign, _("Endpoint"), row["uri"], row["transport"])


def _steps(old: Rows, new: Rows, names: Names) -> Iterator[Change]:
    yield Change(
        "mod",
        _("Revocation path"),
        "",
        _("%(before)d steps before, %(after)d now") % {"before": len(old), "after": len(new)},
    )


def _scopes(old: Rows, new: Rows, names: Names) -> Iterator[Change]:
    for scope in sorted(set(new) - set(old)):
        yield Change("add", _("Scope"), scope)
    for scope in sorted(set(old) - set(new)):
        yield Change("rem", _("Scope"), scope)


def _grants(old: Rows, new: Rows, names: Names) -> Iterator[Change]:
    for before, after in _paired(old, new, lambda row: str(row["server"])):
        row = after or before
        name = names.get(row["server"], row["server"])
        if before is None or after is None:
            yield Change("add" if before is None else "rem", _("Grant"), name, _granted(row))
            continue
        parts = []
        if before["all_tools"] != after["all_tools"]:
            parts.append(_before_after(_granted(before), _granted(after)))
        elif before["tools"] != after["tools"]:
            parts.append(_list_difference(before["tools"], after["tools"]))
        if before["on_behalf_of"] != after["on_behalf_of"]:
            parts.append(_before_after(_behalf(before["on_behalf_of"]), _behalf(after["on_behalf_of"])))
        yield Change("mod", _("Grant"), name, "; ".join(parts))


SECTIONS: dict[str, Callable[[Rows, Rows, Names], Iterable[Change]]] = {
    "downstream": _systems,
    "secret_sources": _sources,
    "endpoints": _endpoints,
    "revocation": _steps,
    "scopes": _scopes,
    "grants": _grants,
}


# --- Three states side by side ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One fact at one instant. `mark` tells two definitions of the same name apart, `note` is what it is said to do."""

    value: str
    mark: str = ""
    note: str = ""
    fact: Any = field(default=None, repr=False)
    """The fact itself: cells are equal facts or they are not, however they are worded."""


@dataclass(frozen=True)
class Row:
    """One fact when it was certified last, at launch, and now. A cell is None where there was no such thing.

    `since_certified` compares the first two, `since_launch` the last two; both are empty where one side is unknown.
    """

    section: str
    kind: str
    what: str
    then: Cell | None
    launch: Cell | None
    now: Cell | None
    since_certified: Sign | Literal[""]
    since_launch: Sign | Literal[""]
    sign: Sign | Literal[""]
    """From the first known state to the last."""

    @property
    def cells(self) -> tuple[Cell | None, Cell | None, Cell | None]:
        return self.then, self.launch, self.now

    @property
    def changed(self) -> bool:
        return bool(self.since_certified or self.since_launch)

    @property
    def tells(self) -> bool:
        """Whether what the cells quote differs; where not, only the marks do."""
        return self.changed and len({cell.note for cell in self.cells if cell is not None}) > 1

    @property
    def label(self) -> str:
        return {"add": _("Added"), "mod": _("Changed"), "rem": _("Removed"), "": ""}[self.sign]


def three_way(then: Json | None, launch: Json, now: Json | None) -> list[Row]:
    """Every material fact as it was certified last, as it was frozen at launch, and as it is.

    `then` is None for what was never certified, `now` for a review that is over. What widens access comes first.
    """
    known = [state for state in (then, launch, now) if state is not None]
    names: Names = {key: name for state in known for key, name in state["context"]["names"].items()}
    columns = [None if state is None else _entries(state, names) for state in (then, launch, now)]
    places = {place: entry for column in columns if column is not None for place, entry in column.items()}
    rows = []
    for place in sorted(places, key=lambda place: (_order(place[0]), place[1])):
        before, frozen, present = (None if column is None else column.get(place) for column in columns)
        cells = [None if entry is None else entry.cell for entry in (before, frozen, present)]
        seen = [cell for cell, column in zip(cells, columns, strict=True) if column is not None]
        rows.append(
            Row(
                section=place[0],
                kind=places[place].kind,
                what=places[place].what,
                then=cells[0],
                launch=cells[1],
                now=cells[2],
                since_certified=_sign(cells[0], cells[1]) if then is not None else "",
                since_launch=_sign(cells[1], cells[2]) if now is not None else "",
                sign=_sign(seen[0], seen[-1]),
            )
        )
    return rows


def _sign(before: Cell | None, after: Cell | None) -> Sign | Literal[""]:
    if before is None or after is None:
        return "" if before is after else "add" if before is None else "rem"
    return "mod" if before.fact != after.fact else ""


@dataclass(frozen=True)
class _Entry:
    kind: str
    what: str
    cell: Cell


Place = tuple[str, str]
MARK = 8


def _entries(evidence: Json, names: Names) -> dict[Place, _Entry]:
    """Every single fact by its place: the section it belongs to, and what tells it apart there."""
    facts, context = evidence["facts"], evidence["context"]
    found: dict[Place, _Entry] = {}
    for key in facts.keys() - STANDS_FOR_OTHERS:
        value = facts[key]
        if key in _ROWS:
            for place, entry in _ROWS[key](value or [], names, context):
                found[key, place] = entry
        elif key == "purpose" and isinstance(value, dict):
            for position, (part, label) in enumerate(_purpose_parts().items()):
                found[key, str(position)] = _Entry(label, "", Cell(_part(part, value[part]), fact=value[part]))
        elif key == "secret_source":
            if value is not None:
                found[key, ""] = _Entry(_("Secret source"), "", Cell(_reference(value), fact=value))
        elif key == "purpose" and value is not None:
            # A grant names the version of the purpose it was given for.
            cell = Cell(_shown(key, value, names), str(value)[-MARK:], fact=value)
            found[key, ""] = _Entry(_label(key), "", cell)
        elif value not in (None, ""):
            found[key, ""] = _Entry(_label(key), "", Cell(_shown(key, value, names), fact=value))
    return found


Entries = Iterator[tuple[str, _Entry]]


def _tool_rows(rows: Rows, names: Names, context: Json) -> Entries:
    notes = _descriptions(context)
    for row in rows:
        cell = Cell(_class(row["class"]), row["digest"][:MARK], notes.get(row["name"], ""), row)
        yield row["name"], _Entry(_("Tool"), row["name"], cell)


def _system_rows(rows: Rows, names: Names, context: Json) -> Entries:
    for row in rows:
        parts = [_access(row), _environment(row["environment"]), *row["scopes"]]
        if row["secret_source"]:
            parts.append(_("with %(source)s") % {"source": _reference(row["secret_source"])})
        name = names.get(row["system"], row["system"])
        yield row["system"], _Entry(_("System"), name, Cell(", ".join(parts), fact=row))


def _source_rows(rows: Rows, names: Names, context: Json) -> Entries:
    for row in rows:
        parts = [row["name"], _credential(row["credential_type"])]
        if row["rotation_interval_days"]:
            days = row["rotation_interval_days"]
            parts.append(ngettext("rotated every %(n)d day", "rotated every %(n)d days", days) % {"n": days})
        what = row["reference"] or _("no credential")
        place = f"{row['kind']}:{row['reference']}:{row['name']}"
        yield place, _Entry(_("Secret source"), what, Cell(", ".join(filter(None, parts)), fact=row))


def _endpoint_rows(rows: Rows, names: Names, context: Json) -> Entries:
    for row in rows:
        yield row["uri"], _Entry(_("Endpoint"), row["uri"], Cell(row["transport"], row["sha256"][:MARK], fact=row))


def _step_rows(rows: Rows, names: Names, context: Json) -> Entries:
    for number, row in enumerate(rows, 1):
        cell = Cell(row["instruction"], note=row["responsible"], fact=row)
        yield f"{number:03}", _Entry(_("Revocation path"), str(number), cell)


def _scope_rows(rows: Rows, names: Names, context: Json) -> Entries:
    for scope in rows:
        yield scope, _Entry(_("Scope"), scope, Cell(_("yes"), fact=scope))


def _grant_rows(rows: Rows, names: Names, context: Json) -> Entries:
    for row in rows:
        value = f"{_granted(row)}, {_behalf(row['on_behalf_of'])}"
        cell = Cell(value, note=", ".join(row["tools"]), fact=row)
        yield row["server"], _Entry(_("Grant"), names.get(row["server"], row["server"]), cell)


_ROWS: dict[str, Callable[[Rows, Names, Json], Entries]] = {
    "tools": _tool_rows,
    "downstream": _system_rows,
    "secret_sources": _source_rows,
    "endpoints": _endpoint_rows,
    "revocation": _step_rows,
    "scopes": _scope_rows,
    "grants": _grant_rows,
}


# --- Single fields ---------------------------------------------------------------------------------------


def _field(key: str, before: Any, after: Any, names: Names) -> Change:
    sign: Sign = "add" if before in (None, "") else "rem" if after in (None, "") else "mod"
    if key == "secret_source":
        return Change(sign, _("Secret source"), "", _before_after(_reference(before), _reference(after)))
    if key == "said":
        return Change(sign, _label(key), "", _("what it tells models besides its tools is another"))
    return Change(sign, _label(key), "", _before_after(_shown(key, before, names), _shown(key, after, names)))


def _purpose(before: Json, after: Json) -> Iterator[Change]:
    for part, label in _purpose_parts().items():
        if before[part] != after[part]:
            yield Change("mod", label, "", _before_after(_part(part, before[part]), _part(part, after[part])))


def _purpose_parts() -> dict[str, str]:
    return {
        "statement": _("Purpose"),
        "in_scope": _("In scope"),
        "out_of_scope": _("Out of scope"),
        "data_classes": _("Data classes"),
        "ends_on": _("Purpose ends on"),
    }


def _part(name: str, value: Any) -> str:
    """A part of a purpose in words."""
    if name == "data_classes":
        return ", ".join(map(_data_class, value)) or _("nothing")
    if isinstance(value, list):
        return ", ".join(map(str, value)) or _("nothing")
    return in_words(value) if name == "ends_on" and value else str(value)


def in_words(day: str) -> str:
    """The day of an ISO date or instant."""
    return str(date_format(date.fromisoformat(day[:10]), "j F Y"))


def _shown(key: str, value: Any, names: Names) -> str:
    if value in (None, ""):
        return _("nothing")
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    match key:
        case "access":
            return _level(value)
        case "data_class":
            return _data_class(value)
        case "environment" | "agent_environment":
            return _environment(value)
        case "on_behalf_of":
            return _behalf(value)
        case "agent_kind":
            return str(Agent.Kind(value).label)
        case "valid_until":
            return in_words(value)
        case "said":
            return _("given, digest %(digest)s") % {"digest": value[:12]}
        case "purpose":
            return str(value["statement"]) if isinstance(value, dict) else names.get(str(value), _("not recorded"))
    return names.get(str(value), str(value))


_LABELS: Mapping[str, Promise] = {
    "name": gettext_lazy("Name"),
    "owner": gettext_lazy("Owner"),
    "said": gettext_lazy("Instructions"),
    "operator": gettext_lazy("Operator"),
    "agent_kind": gettext_lazy("Kind of agent"),
    "spiffe_id": gettext_lazy("SPIFFE id"),
    "client_id": gettext_lazy("Client id"),
    "issuer": gettext_lazy("Issuer"),
    "server": gettext_lazy("Server behind the agent"),
    "deputy": gettext_lazy("Deputy"),
    "team": gettext_lazy("Team"),
    "purpose": gettext_lazy("Purpose"),
    "agent_owner": gettext_lazy("Owner of the agent"),
    "agent_identity": gettext_lazy("Identity of the agent"),
    "agent_environment": gettext_lazy("Environment of the agent"),
    "system_owner": gettext_lazy("Owner of the system"),
    "all_tools": gettext_lazy("Every tool, also future ones"),
    "on_behalf_of": gettext_lazy("On behalf of"),
    "behalf_detail": gettext_lazy("On whose behalf, in words"),
    "max_token_lifetime_seconds": gettext_lazy("Longest token life in seconds"),
    "valid_until": gettext_lazy("Valid until"),
    "access": gettext_lazy("Access"),
    "data_class": gettext_lazy("Data class"),
    "environment": gettext_lazy("Environment"),
}


def _label(key: str) -> str:
    known = _LABELS.get(key)
    return str(known) if known is not None else key.replace("_", " ").capitalize()


_ORDER = (
    "all_tools", "tools", "grants", "downstream", "access", "scopes", "secret_sources", "secret_source", "owner",
    "deputy", "operator", "purpose",
)  # fmt: skip


def _order(key: str) -> tuple[int, str]:
    """What widens access first."""
    return (_ORDER.index(key) if key in _ORDER else len(_ORDER), key)


def _before_after(before: Any, after: Any) -> str:
    return _("%(before)s → %(after)s") % {"before": before, "after": after}


def _list_difference(before: list[str], after: list[str]) -> str:
    parts = [f"+ {scope}" for scope in sorted(set(after) - set(before))]
    return ", ".join(parts + [f"− {scope}" for scope in sorted(set(before) - set(after))])


def _reference(source: Json | None) -> str:
    return str(source["reference"] or source["kind"]) if source else _("nothing")


def _behalf(value: str) -> str:
    return str(Grant.OnBehalfOf(value).label)


def _granted(row: Json) -> str:
    if row["all_tools"]:
        return _("every tool")
    return ngettext("%(n)d tool", "%(n)d tools", len(row["tools"])) % {"n": len(row["tools"])}


def _credential(value: str) -> str:
    return str(SecretSource.CredentialType(value).label) if value else ""


def _class(value: str) -> str:
    return str(ToolClass(value).label) if value else _("no longer listed")


def _level(value: str) -> str:
    return str(Connection.Access(value).label)


def _data_class(value: str) -> str:
    return str(DataClass(value).label)


def _environment(value: str) -> str:
    return str(Environment(value).label)


def _access(row: Json) -> str:
    return f"{_level(row['access'])}, {_data_class(row['data_class'])}"
