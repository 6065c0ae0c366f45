"""What a look into a store gives back. It has no place for a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.utils.dateparse import parse_datetime

from registry.discovery.models import SecretCheck

Outcome = SecretCheck.Outcome


@dataclass(frozen=True)
class Looked:
    """`facts` is metadata under the store's own names: numbers, dates, yes and no. Never text that somebody typed."""

    outcome: Outcome
    detail: str = ""
    rotation_enabled: bool | None = None
    last_rotated_at: datetime | None = None
    last_changed_at: datetime | None = None
    last_accessed_at: datetime | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def cannot(detail: str) -> Looked:
    return Looked(Outcome.CANNOT_CHECK, detail)


def instant(value: Any) -> datetime | None:
    """An instant as stores write it; nothing for the empty string and for anything that is no instant."""
    if isinstance(value, str):
        try:
            value = parse_datetime(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError:
        return None


def plain(found: Mapping[str, Any]) -> dict[str, Any]:
    """What of `found` may be kept: instants as text, numbers, yes and no; everything else falls out."""
    kept: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, datetime):
            kept[name] = value.astimezone(UTC).isoformat()
        elif isinstance(value, bool | int):
            kept[name] = value
    return kept
