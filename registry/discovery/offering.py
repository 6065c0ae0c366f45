"""Reads of the official registry API (specification 2025-12-01): what is asked, where a walk goes on, the rows.

A walk goes by (name, version) with a row comparison, so that its last page costs what its first one does. A cursor is
URL-safe as it stands and carries the whole question: clients join it to the address unescaped, and do not repeat what
they searched for.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import unquote

import orjson
from django.db.models import F, Q, QuerySet, TextField
from django.db.models.fields.tuple_lookups import Tuple, TupleGreaterThan
from django.db.models.functions import Cast
from django.utils.dateparse import parse_datetime

from registry.core import clock
from registry.core.errors import Malformed, NotFound
from registry.discovery.models import Publication
from registry.discovery.publications import OFFICIAL, meta_key

DEFAULT_LIMIT, MAX_LIMIT = 30, 100
LATEST = "latest"
LONGEST = 255
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
ACTIVE, DELETED = Publication.Status.ACTIVE, Publication.Status.DELETED
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class Question:
    """What a list is asked for. `updated_since` is RFC 3339 as given, and asks for tombstones as well."""

    search: str = ""
    version: str = ""
    updated_since: str = ""
    include_deleted: bool = False


class Asked(NamedTuple):
    question: Question
    limit: int
    after: tuple[str, str] | None


def asked(query: Mapping[str, str]) -> Asked:
    """The question of a query string. Raises `Malformed`, which names the parameter.

    With a cursor its question counts; a parameter that contradicts it is refused, one that is absent is not asked.
    """
    question = Question(
        search=_text(query, "search"),
        version=_text(query, "version"),
        updated_since=_instant(query.get("updated_since", "")),
        include_deleted=including_deleted(query),
    )
    if question.updated_since:
        if query.get("include_deleted") and not question.include_deleted:
            raise Malformed("updated_since reports deletions, so include_deleted cannot be false")
        question = replace(question, include_deleted=True)
    limit = _limit(query.get("limit", ""))
    if not (cursor := query.get("cursor", "")):
        return Asked(question, limit, None)
    continued, after = read_cursor(cursor)
    for name, value in asdict(question).items():
        if query.get(name) and value != getattr(continued, name):
            raise Malformed(f"{name} is not what this cursor was made for")
    return Asked(continued, limit, after)


def including_deleted(query: Mapping[str, str]) -> bool:
    text = query.get("include_deleted", "").lower()
    if text not in ("", "true", "false", "1", "0"):
        raise Malformed("include_deleted must be true or false")
    return text in ("true", "1")


def _text(query: Mapping[str, str], name: str) -> str:
    return _fitting(query.get(name, ""), name)


def _fitting(text: str, name: str) -> str:
    """`text`, when it may be compared with what is stored. Raises `Malformed`."""
    if len(text) > LONGEST or _UNSTORABLE.search(text):
        raise Malformed(f"{name} must be text of at most {LONGEST} characters")
    return text


def _limit(text: str) -> int:
    if not text:
        return DEFAULT_LIMIT
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not 1 <= int(text) <= MAX_LIMIT:
        raise Malformed(f"limit must be a number from 1 to {MAX_LIMIT}")
    return int(text)


def _instant(text: str) -> str:
    if not text:
        return ""
    # A plus that was not escaped arrives as a blank.
    text = text.replace(" ", "+")
    try:
        found = parse_datetime(text.upper()) if _RFC3339.fullmatch(text) else None
        # In UTC the first and the last hours of the calendar may lie outside of it.
        return (found or _no_time()).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        said = "updated_since must be an RFC 3339 time with a zone, such as 2026-01-31T12:00:00Z"
        raise Malformed(said) from None


def _no_time() -> datetime:
    raise ValueError("no time")


# --- Cursors ---------------------------------------------------------------------------------------------


def cursor_after(name: str, version: str, question: Question) -> str:
    given = {key: value for key, value in asdict(question).items() if value}
    text = json.dumps([name, version, given], ensure_ascii=False, separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[Question, tuple[str, str]]:
    """Raises `Malformed` for what is no cursor of ours."""
    try:
        name, version, given = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        question = Question(**given)
        for text in (name, version, question.search, question.version, question.updated_since):
            _fitting(text, "cursor")
        if not isinstance(question.include_deleted, bool):
            raise TypeError("not a cursor")
        return replace(question, updated_since=_instant(question.updated_since)), (name, version)
    except (ValueError, TypeError, RecursionError, NotBase64, Malformed) as error:
        raise Malformed("cursor is none of ours; start again from the first page") from error


# --- Rows ------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """What is read of a publication; `text` is its body as the database holds it."""

    name: str
    release: str
    text: str
    status: str
    status_message: str
    status_changed_at: datetime
    published_at: datetime
    updated_at: datetime
    is_latest: bool
    facts: dict[str, Any]
    certified_until: datetime | None


class Page(NamedTuple):
    servers: list[dict[str, Any]]
    cursor: str


def page_of(wanted: Asked) -> Page:
    """One page in the order of name and version, with the cursor of the next one, if there is any."""
    question, limit, after = wanted
    matching = _told_of(question.include_deleted)
    if question.version == LATEST:
        matching = matching.filter(is_latest=True)
    elif question.version:
        matching = matching.filter(release=question.version)
    if question.search:
        matching = matching.filter(name__icontains=question.search)
    if question.updated_since:
        matching = matching.filter(updated_at__gt=question.updated_since)
    if after is not None:
        here = Tuple(F("name"), F("release"))
        matching = matching.filter(TupleGreaterThan(here, after))
    matching = matching.order_by("name", "release")[: limit + 1]
    # What is sorted are keys; bodies are fetched for the page alone.
    page = Publication.objects.filter(pk__in=matching.values("pk")).order_by("name", "release")
    found = list(_rows(page))
    more, found = len(found) > limit, found[:limit]
    cursor = cursor_after(found[-1][0], found[-1][1], question) if more else ""
    return Page(_told(found), cursor)


def versions_of(name: str, *, include_deleted: bool) -> list[dict[str, Any]]:
    """Every version of a server, the newest published first. Raises `NotFound` when there is none, `Malformed`."""
    _fitting(name, "name")
    found = list(_rows(_told_of(include_deleted).filter(name=name)).order_by("-published_at", "-release"))
    if not found:
        raise NotFound("Server not found")
    return _told(found)


def version_of(name: str, version: str, *, include_deleted: bool) -> dict[str, Any]:
    """One version, or the latest. Raises `NotFound`, `Malformed`.

    A proxy may have escaped the version once more; none that is published holds a percent sign by itself.
    """
    spelled = {_fitting(each, "version") for each in (version, unquote(version))}
    rows = _told_of(include_deleted).filter(name=_fitting(name, "name"))
    rows = rows.filter(is_latest=True) if version == LATEST else rows.filter(release__in=spelled)
    found = list(_rows(rows)[:1])
    if not found:
        raise NotFound("Server version not found")
    return _told(found)[0]


def _told_of(include_deleted: bool) -> QuerySet[Publication]:
    if include_deleted:
        return Publication.objects.order_by()
    # Also while nobody sweeps: what is not certified at this moment is not offered.
    return Publication.objects.order_by().filter(published_now())


def _rows(publications: QuerySet[Publication]) -> QuerySet[Publication, tuple[Any, ...]]:
    return publications.annotate(text=Cast("body", TextField())).values_list(*Row._fields)


def _told(rows: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    key, now = meta_key(), clock.now()
    return [_entry(Row(*row), key, now) for row in rows]


def _entry(row: Row, key: str, now: datetime) -> dict[str, Any]:
    status, message = row.status, row.status_message
    if status == ACTIVE and (row.certified_until is None or row.certified_until <= now):
        status, message = DELETED, "Its certification has ended."
    official: dict[str, Any] = {
        "status": str(status),
        "statusChangedAt": row.status_changed_at,
        "publishedAt": row.published_at,
        "updatedAt": row.updated_at,
        "isLatest": row.is_latest,
    }
    if message:
        official["statusMessage"] = message
    meta: dict[str, Any] = {OFFICIAL: official}
    if status != DELETED and row.facts:
        meta[key] = row.facts
    # The body goes from the database to the wire as it is, without being read.
    return {"server": orjson.Fragment(row.text), "_meta": meta}


def encoded(data: Any) -> bytes:
    return orjson.dumps(data, option=orjson.OPT_UTC_Z)


def published_now() -> Q:
    """Publications that clients are offered at this moment."""
    return Q(status=ACTIVE, certified_until__gt=clock.now())
