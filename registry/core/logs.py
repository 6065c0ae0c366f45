"""What must not reach a log.

Tracebacks are printed without local variables, and nobody is mailed a report with them (settings.LOGGING). What is left
are messages: of exceptions, of libraries, of ourselves. They lose this registry's own secrets, by their value, and in
warnings and errors whatever looks like a credential. A secret of somebody else that looks like a word, in the message
of an exception, is not recognised.
"""

import re
from collections.abc import Iterator, Mapping, MutableMapping
from functools import lru_cache
from itertools import groupby
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings

SERIOUS = frozenset({"warning", "error", "critical", "exception"})
OURS = frozenset({"timestamp", "level", "logger"})
SHORTEST = 12
"""Own secrets shorter than this are not masked: a database password that is `steward` stands in every second line."""
HIDDEN = "[REDACTED]"
_DOOR = re.compile(r"(\s/r/)[^/\s]+")
_FRAME = re.compile(r"\s+File \"")


def without_query(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog processor: the request's path without its query, which may hold what somebody searched for, and without
    the token that opens what is published: also one that is mistyped, or was good until yesterday."""
    if isinstance(request := event.get("request"), str):
        event["request"] = _DOOR.sub(rf"\1{HIDDEN}", request.partition("?")[0])
    return event


def without_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog processor, the last before the line is written: messages and tracebacks without credentials."""
    serious = event.get("level") in SERIOUS
    for name, value in event.items():
        if name not in OURS:
            event[name] = _cleaned(value, serious)
    return event


def _cleaned(value: Any, serious: bool) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return _told(value) if serious else _without_own(value)
        case Mapping():
            return {key: _cleaned(each, serious) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_cleaned(each, serious) for each in value]
        case _:
            return _cleaned(str(value), serious)


def _told(text: str) -> str:
    """`text` without credentials. Lines of source code are left: they say where it happened, and hold no values."""
    from registry.core.secrets import redact  # its words need the settings, which this module is part of

    own = _without_own(text)
    if "\n" not in own:
        return redact(own)
    told = []
    for code, lines in groupby(_lines(own), key=lambda line: line[0]):
        part = "".join(line for _code, line in lines)
        told.append(part if code else redact(part))
    return "".join(told)


def _lines(text: str) -> Iterator[tuple[bool, str]]:
    """Each line, and whether it is a frame of a traceback: its place, then its code, which is indented further."""
    within = False
    for line in text.splitlines(keepends=True):
        within = bool(_FRAME.match(line)) or (within and line.startswith("    "))
        yield within, line


def _without_own(text: str) -> str:
    for secret in own_secrets():
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return text


def own_secrets() -> tuple[str, ...]:
    """What this installation keeps secret, as its settings have it; the longest first."""
    if not settings.configured:
        return ()
    providers = tuple(each.client_secret for each in settings.OIDC_PROVIDERS.values())
    plain = (
        settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS, settings.METRICS_TOKEN, settings.PUBLISH_PATH_TOKEN,
        settings.EMAIL_HOST_PASSWORD, settings.AUDIT_SIGNING_KEY, *providers,
    )  # fmt: skip
    return _worth_hiding(plain, (settings.DATABASE_URL, settings.CELERY_BROKER_URL, settings.OUTBOUND_PROXY))


@lru_cache(maxsize=8)
def _worth_hiding(plain: tuple[str, ...], urls: tuple[str, ...]) -> tuple[str, ...]:
    passwords = [urlsplit(url).password or "" for url in urls]
    found = {*plain, *passwords, *map(unquote, passwords)}
    return tuple(sorted((each for each in found if each and len(each) >= SHORTEST), key=len, reverse=True))
