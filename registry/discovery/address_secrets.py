"""Parts of an address that may be a credential, and what stands for them in an address that is kept.

Services put personal keys anywhere: in a path, under any name of the query, into the host. So a value of a query is
private unless its name or its own plainness says otherwise, and a part of path or host is when it looks random. What
stands for one is a digest keyed by this installation: equal parts stay equal, and nothing leads back to them.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

from django.utils.crypto import salted_hmac

from registry.core.secrets import is_stand_in, name_certainty

KEY = "{key}"
"""Stands where an address holds what is certainly a key; another person's key there is the same server."""
STAND_IN = re.compile(r"\{key(?:-[0-9a-f]{16})?\}|\bkey-[0-9a-f]{16}\b")
_ADDRESS = re.compile(r"https?://(?P<host>[^\s/?#\"'<>]*)(?P<path>[^\s?#\"'<>]*)(?:\?(?P<query>[^\s#\"'<>]*))?", re.I)
_LONGEST = 4096


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HARMLESS = _words("""
    transport version api-version api_version v region zone locale lang language format mode type env environment
    profile tools toolset toolsets tool features feature read_only readonly read-only write stream streaming debug
    verbose timeout limit page size project_ref project project_id projectref org organization organisation team
    workspace tenant tenant_id account account_id database db schema model namespace channel branch stage client source
    include exclude scope scopes category categories agent app application name enabled dry_run draft preview
""")
_SUSPICIOUS = _words("""
    k c s t p u x code otp tok pw pwd pass sig sign signature auth a key api hash hmac id_token state nonce ticket
    invite access share link sid session cookie licence license
""")
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z]{1,14}\d{0,3}(?:[-_ .,:/|][A-Za-z]{1,14}\d{0,3}){0,5}|v?\d{1,4}(?:[.-]\d{1,4}){0,3}")
_NO_VOWELS = re.compile(r"[bcdfghjklmnpqrstvwxz]{7}", re.IGNORECASE)


class Part(NamedTuple):
    """A private part of an address: `url-parameter` is certainly a credential, the others may be one."""

    rule: str
    start: int
    end: int


def is_random(text: str) -> bool:
    """A UUID, or letters and digits that change as no word does: hex, base62, base64, with dashes or without."""
    text = text[:512]
    if _UUID.fullmatch(text):
        return set(text) - {"0", "-"} != set()
    parts = re.split(r"[^A-Za-z0-9]", text)
    for part in parts:
        numbered = len(part) >= 12 and sum(one.isdigit() != other.isdigit() for one, other in pairwise(part)) >= 3
        if numbered or (len(part) >= 16 and len(set(part)) >= 8 and _NO_VOWELS.search(part)):
            return True
    letters = "".join(parts)
    changes = sum(_kind(one) != _kind(other) for one, other in pairwise(letters))
    return len(letters) >= 16 and changes >= 0.35 * len(letters)


def _kind(letter: str) -> str:
    return "digit" if letter.isdigit() else "upper" if letter.isupper() else "lower"


def private_parts(text: str) -> Iterator[Part]:
    """Of every http address in `text`, in order; what is only asked for (`${TOKEN}`, `{tenant}`) is none."""
    for found in _ADDRESS.finditer(text[:_LONGEST]):
        yield from _in_host(found["host"], found.start("host"))
        yield from _in_path(found["path"], found.start("path"))
        if found["query"]:
            yield from _in_query(found["query"], found.start("query"))


def _pieces(text: str, separator: str, offset: int) -> Iterator[tuple[str, int]]:
    for piece in text.split(separator):
        yield piece, offset
        offset += len(piece) + len(separator)


def _in_host(host: str, offset: int) -> Iterator[Part]:
    user, at, name = host.rpartition("@")
    for label, start in _pieces(name, ".", offset + len(user) + len(at)):
        label = label.partition(":")[0]
        # Clouds put short random words into names of hosts; those are addresses, not keys.
        pieces = [label] if _UUID.fullmatch(label) else label.split("-")
        if not STAND_IN.fullmatch(label) and any(len(each) >= 16 and is_random(each) for each in pieces):
            yield Part("url-random", start, start + len(label))


def _in_path(path: str, offset: int) -> Iterator[Part]:
    for segment, start in _pieces(path, "/", offset):
        value = unquote(segment)
        if not _is_asked_for(value) and is_random(value):
            yield Part("url-random", start, start + len(segment))


def _in_query(query: str, offset: int) -> Iterator[Part]:
    for pair, start in _pieces(query, "&", offset):
        name, sign, value = pair.partition("=")
        if not sign:
            if not _is_asked_for(pair) and is_random(unquote_plus(pair)):
                yield Part("url-value", start, start + len(pair))
        elif rule := _judged(unquote_plus(name).lower(), unquote_plus(value)):
            yield Part(rule, start + len(name) + 1, start + len(pair))


def _judged(name: str, value: str) -> str:
    """What the value of a query is, by its rule; empty for what may be kept."""
    if not value or _is_asked_for(value) or is_stand_in(value):
        return ""
    numbered = re.fullmatch(r"\d{1,3}", value) is not None
    if name_certainty(name) in ("certain", "possible") or (name in _SUSPICIOUS and not numbered):
        return "url-parameter"
    if any(is_random(each) for each in re.split(r"[,;|]", value)):
        return "url-value"
    return "" if name in _HARMLESS or _PLAIN.fullmatch(value) else "url-value"


def _is_asked_for(value: str) -> bool:
    return bool(STAND_IN.search(value) or re.search(r"\$\{|\{\{|\{\w+\}|<[^>]*>", value))


def stand_in(value: str) -> str:
    """The same for the same value, and without the key of this installation nobody finds the value to it."""
    digest = salted_hmac("discovery.address", value, algorithm="sha256").hexdigest()[:16]
    return f"key-{digest}"


def without_private_parts(url: str) -> str:
    """The address with something else in place of every private part; doing it twice changes nothing."""
    for part in reversed(list(private_parts(url))):
        value = url[part.start : part.end]
        if part.rule == "url-parameter":
            put = KEY
        elif _is_of_host(url, part):
            put = stand_in(value.lower())
        else:
            put = "{" + stand_in(unquote(value)) + "}"
        url = url[: part.start] + put + url[part.end :]
    return url


def _is_of_host(url: str, part: Part) -> bool:
    found = _ADDRESS.search(url)
    return found is not None and part.end <= found.end("host")
