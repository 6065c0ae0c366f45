"""What changed between two snapshots, in words: last signed, at launch, now."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from django.utils.translation import gettext as _

from registry.catalog.models import DataClass, Environment, ToolClass
from registry.reviews.facts import Json
from registry.trust.models import Connection, Grant

Sign = Literal["add", "mod", "rem"]


@dataclass(frozen=True)
class Change:
    """`what` names the thing (a tool, a system, a field), `detail` says before and after."""

    sign: Sign
    kind: str
    what: str
    detail: str = ""

    @property
    def mark(self) -> str:
        return {"add": "+", "mod": "~", "rem": "−"}[self.sign]


def changes(before: Json, after: Json) -> list[Change]:
    """Every difference of material facts; empty when the fingerprints are equal."""
    names = {**before["context"]["names"], **after["context"]["names"]}
    old, new = before["facts"], after["facts"]
    found: list[Change] = []
    for key in sorted({*old, *new} - {"kind"}, key=_order):
        if old.get(key) == new.get(key):
            continue
        section = SECTIONS.get(key)
        if section is None:
            found.append(_field(key, old.get(key), new.get(key), names))
        else:
            found.extend(section(old.get(key) or [], new.get(key) or [], names))
    return found


# --- Lists of things, told apart by a key ----------------------------------------------------------------

Rows = list[Any]
Names = Mapping[str, str]


def _paired(old: Rows, new: Rows, key: Callable[[Any], str]) -> Iterator[tuple[Any, Any]]:
    before, after = {key(row): row for row in old}, {key(row): row for row in new}
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield before.get(name), after.get(name)


def _tools(old: Rows, new: Rows, names: Names) -> Iterator[Change]:
    for before, after in _paired(old, new, lambda row: str(row["name"])):
        if before is None:
            yield Change("add", _("Tool"), after["name"], _class(after["class"]))
        elif after is None:
            yield Change("rem", _("Tool"), before["name"], _class(before["class"]))
        elif before["class"] != after["class"]:
            detail = _("%(before)s became %(after)s") % {
                "before": _class(before["class"]),
                "after": _class(after["class"]),
            }
            yield Change("mod", _("Tool"), after["name"], detail)
        else:
            yield Change("mod", _("Tool"), after["name"], _("its definition changed"))


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


SECTIONS: dict[str, Callable[[Rows, Rows, Names], Iterable[Change]]] = {
    "tools": _tools,
    "downstream": _systems,
    "secret_sources": _sources,
    "endpoints": _endpoints,
    "revocation": _steps,
    "scopes": _scopes,
}


# --- Single fields ---------------------------------------------------------------------------------------


def _field(key: str, before: Any, after: Any, names: Names) -> Change:
    sign: Sign = "add" if before in (None, "") else "rem" if after in (None, "") else "mod"
    if key == "purpose" and isinstance(before, dict) and isinstance(after, dict):
        return Change("mod", _("Purpose"), "", _before_after(before["statement"], after["statement"]))
    if key == "secret_source":
        return Change(sign, _("Secret source"), "", _before_after(_reference(before), _reference(after)))
    return Change(sign, _label(key), "", _before_after(_shown(key, before, names), _shown(key, after, names)))


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
            return str(Grant.OnBehalfOf(value).label)
        case "valid_until":
            return str(value)[:10]
        case "purpose":
            return str(value["statement"]) if isinstance(value, dict) else _("another purpose")
    return names.get(str(value), str(value))


def _label(key: str) -> str:
    labels = {
        "name": _("Name"),
        "owner": _("Owner"),
        "deputy": _("Deputy"),
        "team": _("Team"),
        "purpose": _("Purpose"),
        "agent_owner": _("Owner of the agent"),
        "agent_identity": _("Identity of the agent"),
        "agent_environment": _("Environment of the agent"),
        "system_owner": _("Owner of the system"),
        "all_tools": _("Every tool, also future ones"),
        "on_behalf_of": _("On behalf of"),
        "behalf_detail": _("On behalf of"),
        "max_token_lifetime_seconds": _("Longest token life in seconds"),
        "valid_until": _("Valid until"),
        "access": _("Access"),
        "data_class": _("Data class"),
        "environment": _("Environment"),
    }
    return labels.get(key, key.replace("_", " ").capitalize())


_ORDER = ("tools", "downstream", "access", "scopes", "secret_sources", "secret_source", "owner", "deputy", "purpose")


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
