"""What another registry answers (`GET {base}/v0.1/servers`), read without trusting any of it."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from registry.core.outbound import Answer, OutboundError
from registry.discovery.formats.reading import NAME
from registry.discovery.publications import OFFICIAL

LIMIT = 100
LONGEST_CURSOR = 700
STATUSES = ("active", "deprecated", "deleted")
_FRACTION = re.compile(r"(\.\d{6})\d+")
_UNSTORABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class NotARegistry(OutboundError):
    """The answer is none of the read API. `again` says whether asking from the first page may help."""

    code, title = "not-a-registry", "This is not the answer of a registry"

    def __init__(self, message: str, *, again: bool = False, wait: int = 0) -> None:
        super().__init__(message)
        self.again, self.wait = again, wait


@dataclass(frozen=True)
class Heard:
    """One version as the other registry tells it; `raw` is its server.json."""

    name: str
    version: str
    status: str
    message: str
    is_latest: bool
    published_at: datetime | None
    updated_at: datetime | None
    digest: str
    raw: Mapping[str, Any]


@dataclass(frozen=True)
class HeardPage:
    """`unreadable` counts entries without a usable name or version; `cursor` is empty on the last page."""

    entries: list[Heard]
    unreadable: int
    cursor: str


def page_url(base_url: str, *, cursor: str, updated_since: datetime | None) -> str:
    query: dict[str, str] = {"limit": str(LIMIT)}
    if updated_since is not None:
        query["updated_since"] = updated_since.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if cursor:
        query["cursor"] = cursor
    return f"{base_url}/v0.1/servers?{urlencode(query)}"


def read_answer(answer: Answer) -> HeardPage:
    """Raises `NotARegistry` with a sentence for people, whatever comes."""
    if answer.status != 200:
        raise _unwanted(answer)
    try:
        document = answer.json()
    except OutboundError:
        raise NotARegistry(_("It answers something that is not JSON.")) from None
    servers = document.get("servers") if isinstance(document, Mapping) else None
    if not isinstance(servers, list):
        raise NotARegistry(_("Its answer holds no list of servers."))
    if len(servers) > 10 * LIMIT:
        raise NotARegistry(_("It answers %(n)d entries where at most 100 were asked for.") % {"n": len(servers)})
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    cursor = metadata.get("nextCursor", metadata.get("next_cursor")) or ""
    if not isinstance(cursor, str) or len(cursor) > LONGEST_CURSOR or _UNSTORABLE.search(cursor):
        raise NotARegistry(_("Its cursor is none that can be sent back."))
    heard = [_heard(each) for each in servers]
    # The same version twice on one page: the later word counts.
    kept: dict[tuple[str, str], Heard] = {}
    for each in heard:
        if each is not None:
            kept[each.name, each.version] = each
    return HeardPage(list(kept.values()), heard.count(None), cursor)


def _unwanted(answer: Answer) -> NotARegistry:
    status = answer.status
    wait = answer.headers.get("Retry-After", "")
    seconds = min(int(wait), 86_400) if re.fullmatch(r"\d{1,9}", wait, re.ASCII) else 0
    if status in (401, 403):
        return NotARegistry(_("It wants a sign-in (%(status)d).") % {"status": status})
    if status == 429 or status >= 500:
        return NotARegistry(_("It cannot answer at the moment (%(status)d).") % {"status": status}, wait=seconds)
    said = _("It does not know this address, or refuses the question (%(status)d).") % {"status": status}
    return NotARegistry(said, again=400 <= status < 500)


def _heard(each: Any) -> Heard | None:
    raw = each.get("server") if isinstance(each, Mapping) else None
    if not isinstance(raw, Mapping):
        return None
    name, version = raw.get("name"), raw.get("version")
    if not isinstance(name, str) or not 3 <= len(name) <= 200 or not NAME.fullmatch(name):
        return None
    if not isinstance(version, str) or not 1 <= len(version) <= 255 or _UNSTORABLE.search(version):
        return None
    meta = each.get("_meta")
    official = meta.get(OFFICIAL) if isinstance(meta, Mapping) else None
    official = official if isinstance(official, Mapping) else {}
    status, message = official.get("status", "active"), official.get("statusMessage", "")
    return Heard(
        name=name,
        version=version,
        # A status nobody has heard of is not taken for an approval.
        status=status if status in STATUSES else "deprecated",
        message=_UNSTORABLE.sub(" ", message)[:500] if isinstance(message, str) else "",
        is_latest=official.get("isLatest", True) is True,
        published_at=_instant(official.get("publishedAt")),
        updated_at=_instant(official.get("updatedAt")),
        digest=hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest(),
        raw=raw,
    )


def _instant(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        found = parse_datetime(_FRACTION.sub(r"\1", text))
        return None if found is None else found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
