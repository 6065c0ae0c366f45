"""Field-level history of a server and its parts, as django-auditlog recorded it.

Apart from `queries` because it reads tables that are not the catalog's.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from auditlog.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, Q

from registry.catalog.models import Endpoint, Purpose, RevocationStep, SecretSource, Server, Tool

PARTS: tuple[type[Model], ...] = (Endpoint, Tool, Purpose, SecretSource, RevocationStep)
HIDDEN = frozenset({"id", "server", "import_digest", "digest", "tier_factors", "admitted"})
"""Fields that say nothing to a reader: keys, digests, and what is shown elsewhere."""


@dataclass(frozen=True)
class FieldChange:
    field: str
    before: str
    after: str


@dataclass(frozen=True)
class Change:
    at: datetime
    who: str
    what: str
    thing: str
    fields: tuple[FieldChange, ...]


def history_of(thing: Model, *, limit: int = 100) -> list[Change]:
    """The newest changes of `thing`; of a server, its parts' as well."""
    wanted = Q(content_type=ContentType.objects.get_for_model(type(thing)), object_pk=str(thing.pk))
    if isinstance(thing, Server):
        for part in PARTS:
            ids = [str(pk) for pk in part._default_manager.filter(server=thing).values_list("pk", flat=True)]
            if ids:
                wanted |= Q(content_type=ContentType.objects.get_for_model(part), object_pk__in=ids)
    entries = LogEntry.objects.filter(wanted).select_related("actor", "content_type").order_by("-timestamp", "-id")
    return [_change(entry) for entry in entries[:limit]]


def _change(entry: LogEntry) -> Change:
    changes: dict[str, Any] = entry.changes_dict or {}
    fields = tuple(
        FieldChange(field.replace("_", " "), _shown(pair[0]), _shown(pair[1]))
        for field, pair in sorted(changes.items())
        if field not in HIDDEN and isinstance(pair, list) and _shown(pair[0]) != _shown(pair[1])
    )
    verb = {LogEntry.Action.CREATE: "added", LogEntry.Action.UPDATE: "changed"}.get(entry.action, "read")
    kind = entry.content_type.model_class()
    name = str(kind._meta.verbose_name) if kind else entry.content_type.model
    who = str(entry.actor) if entry.actor else "The registry"
    return Change(entry.timestamp, who, f"{name} {verb}", entry.object_repr, fields)


def _shown(value: Any) -> str:
    text = "" if value in (None, "None", "[]", "{}") else str(value)
    return text if len(text) <= 200 else f"{text[:199]}…"
