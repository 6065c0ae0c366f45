"""What somebody was about to send when they first had to prove who they are: kept in their session, sent by them alone.

Nothing is replayed: the page that comes after shows it, and the person presses the button (or does not). Passwords and
whatever looks like a secret are never kept; neither are files.
"""

import re
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import get_random_string

from registry.core.acts import page_above
from registry.core.secrets import redact

MOST, LARGEST = 3, 64_000
_KEY = "kept_input"
_NEVER = re.compile(r"csrf|password|passwd|secret_value|token", re.IGNORECASE)
_TECHNICAL = re.compile(r"version|evidence_hash|expected|shown|next|_id$|^id$", re.IGNORECASE)


@dataclass(frozen=True)
class KeptInput:
    """One form as it was sent: to `path`, from `page`. `fields` are pairs, as one name may come several times."""

    path: str
    page: str
    doing: str
    fields: list[tuple[str, str]]
    left_out: list[str]

    @property
    def shown(self) -> list[tuple[str, str]]:
        """What a person typed or chose, with a readable name; not what the page carries for itself."""
        return [
            (name.replace("_", " ").replace(".", " ").capitalize(), value)
            for name, value in self.fields
            if value.strip() and not _TECHNICAL.search(name)
        ]


def keep(request: HttpRequest, doing: str) -> str:
    """Keep the form of this request, and return the key to find it with in the same session."""
    fields: list[tuple[str, str]] = []
    left_out = sorted(request.FILES)
    for name, values in request.POST.lists():
        for value in values:
            if name == "csrfmiddlewaretoken":
                continue
            if _NEVER.search(name) or redact(str(value)) != str(value):
                left_out.append(name)
            else:
                fields.append((name, str(value)))
    if sum(len(name) + len(value) for name, value in fields) > LARGEST:
        left_out, fields = sorted({*left_out, *(name for name, _value in fields)}), []
    entry = {
        "path": request.get_full_path(),
        "page": _page(request),
        "doing": doing,
        "fields": fields,
        "left_out": left_out,
        "until": time.time() + settings.STEP_UP_SECONDS * 2,
    }
    key = get_random_string(16)
    others = dict(list(request.session.get(_KEY, {}).items())[1 - MOST :])
    request.session[_KEY] = {**others, key: entry}
    return key


def kept(request: HttpRequest, key: str) -> KeptInput | None:
    entry: dict[str, Any] | None = request.session.get(_KEY, {}).get(key)
    if entry is None or entry["until"] < time.time():
        return None
    return KeptInput(
        path=entry["path"],
        page=entry["page"],
        doing=entry["doing"],
        fields=[(name, value) for name, value in entry["fields"]],
        left_out=entry["left_out"],
    )


def _page(request: HttpRequest) -> str:
    """Where the form was: the page that sent it if that is one of ours, else the one above the act."""
    said = urlsplit(request.headers.get("HX-Current-URL") or request.headers.get("Referer") or "")
    if said.netloc == request.get_host() and said.path.startswith("/") and not said.path.startswith("//"):
        return f"{said.path}?{said.query}" if said.query else said.path
    return page_above(request.path)
