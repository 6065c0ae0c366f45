"""Parts of an address that may be a credential, and what stands for them in an address that is kept.

Services put personal keys anywhere: in a path, under any name of the query, as such a name, into the host. So a value
of a query is private unless it is plain, and a part of path or host is when it looks random or the part before it
says that it is one. Only a whole placeholder (`{tenant}`, `${TOKEN}`) is nobody's key; what stands beside one is
judged. What stands for a private part is a digest keyed by this installation: equal parts stay equal, and nothing
leads back to them.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import unquote

from django.utils.crypto import salted_hmac

from registry.core.secrets import REDACTED, is_stand_in, name_certainty, without_placeholders

KEY = "{key}"
"""Stands where an address holds what is certainly a key; another person's key there is the same server."""
STAND_IN = re.compile(r"\{key(?:-[0-9a-f]{16})?\}|\bkey-[0-9a-f]{16}\b")
_HOST = r"https?://(?P<host>[^\s/?#\"'<>]*)"
_IN_TEXT = re.compile(
    _HOST + r"""(?P<path>(?:[^\s?#"'<>]|<[^\s<>"']*>?)*+)(?:\?(?P<query>(?:[^\s#"'<>]|<[^\s<>"']*>?)*+))?""",
    re.IGNORECASE,
)
# What begins as an address is one to its end: quotes and blanks are kept of it as well.
_WHOLE = re.compile(r"\s*" + _HOST + r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?", re.IGNORECASE)
_TAKEN_OUT = re.compile(r"\{key(?:-[0-9a-f]{16})?\}")
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
_LISTS = _words("tool tools toolset toolsets feature features include exclude scope scopes category categories")
_REFERS = _words("project_ref projectref project project_id")
_PLAIN_WORD = re.compile(r"[A-Za-z]{1,16}\d{0,3}|\d{1,12}|\d{1,4}[a-z]{1,2}")
# `/token/…` and `/key=…` say what comes. `/secrets/…` does not: in a vault's address a name follows.
_NAMES_A_KEY = re.compile(
    r"(?:(?:api|access|auth|bearer|client|personal|private|secret|service|user)[-_]?)?"
    r"(?:(?:api[-_]?key|key|token|password|credential)s?|secret|passwd|pwd|auth)",
    re.IGNORECASE,
)
# What comes behind such a word without being a key.
_ENDPOINT = re.compile(r"mcp|sse|https?|streams?|messages?|v\d{1,2}", re.IGNORECASE)
_NO_VOWELS = re.compile(r"[bcdfghjklmnpqrstvwxz]{7}", re.IGNORECASE)


class Part(NamedTuple):
    """A private part of an address: `url-parameter` is certainly a credential, the others may be one."""

    rule: str
    start: int
    end: int


def is_random(text: str) -> bool:
    """A UUID, or letters and digits that change as no word does: hex, base62, base64, with dashes or without."""
    text = text[:_LONGEST]
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
    for found in _addresses(text[:_LONGEST]):
        yield from _in_host(found["host"], found.start("host"))
        yield from _in_path(found["path"], found.start("path"))
        if found["query"]:
            yield from _in_query(found["query"], found.start("query"))


def _addresses(text: str) -> Iterator[re.Match[str]]:
    whole = _WHOLE.match(text)
    return iter((whole,)) if whole else _IN_TEXT.finditer(text)


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
    before = ""
    for segment, start in _pieces(path, "/", offset):
        value = _decoded(segment)
        if rule := _judged_segment(before, value):
            yield Part(rule, start, start + len(segment))
        before = value


def _in_query(query: str, offset: int) -> Iterator[Part]:
    for pair, start in _pieces(query, "&", offset):
        name, sign, value = pair.partition("=")
        called = _decoded(name.replace("+", " "))
        if _is_private(called):
            yield Part("url-value", start, start + len(name))
        if sign and (rule := _judged(called, _decoded(value.replace("+", " ")))):
            yield Part(rule, start + len(name) + 1, start + len(pair))


def _decoded(text: str) -> str:
    """Without its percent signs, however often it was escaped, within reason."""
    for _time in range(3):
        before, text = text, unquote(text)
        if text == before:
            break
    return text


def _left(value: str) -> str:
    """What of `value` is given: without placeholders and what stands for keys taken out before."""
    return without_placeholders(_TAKEN_OUT.sub(" ", value), is_random).strip(" /.,:;|_-")


def _is_private(value: str) -> bool:
    """Whether a part of a path, or the name of a query, holds a key: a random part, or an escaped pair that does."""
    left = _left(value)
    if any(is_random(each) for each in (left, *re.split(r"[.~,;:=@\s]", left))):
        return True
    pairs = re.split(r"[/?&#;]", value)
    escaped = len(pairs) > 1 and re.search(r"[?&]", value) is not None
    for pair in pairs:
        name, sign, given = pair.partition("=")
        if sign and (_named_a_key(name, given) or (escaped and _judged(name, given))):
            return True
        name, _sign, given = pair.partition(":")
        if _named_a_key(name, given):
            return True
    return False


def _judged_segment(before: str, value: str) -> str:
    if _named_a_key(before, value):
        return "url-path-key"
    inner = value.split("/")
    if any(_named_a_key(one, other) for one, other in pairwise(inner)):
        return "url-path-key"
    return "url-random" if any(map(_is_private, (value, *inner))) else ""


def _named_a_key(name: str, value: str) -> bool:
    left = _left(value)
    return bool(left and _NAMES_A_KEY.fullmatch(name.strip()) and not _ENDPOINT.fullmatch(left) and not _is_shown(left))


def _judged(name: str, value: str) -> str:
    """What the value of a query is, by its rule; empty for what may be kept."""
    left = _left(value)
    if not left or _is_shown(left):
        return ""
    numbered = re.fullmatch(r"\d{1,3}", value) is not None
    lowered = name.lower()
    certainties = {name_certainty(name), name_certainty(lowered)}
    if certainties & {"certain", "possible"} or (lowered in _SUSPICIOUS and not numbered):
        return "url-parameter"
    if any(is_random(each) for each in re.split(r"[,;|]", left)) or _is_private(left):
        return "url-value"
    plain = _PLAIN.fullmatch(left) is not None or (lowered in _HARMLESS and _is_plain(lowered, left))
    return "" if plain else "url-value"


def _is_plain(name: str, value: str) -> bool:
    """Short words, numbers, or a list of such: what a harmless name really selects."""
    if name in _REFERS and re.fullmatch(r"[a-z]{1,24}", value):
        return True
    longest = 6 if name in _LISTS else 4
    for each in re.split(r"[,;|\s]+", value):
        words = re.split(r"[-_.:/@]", each)
        if len(words) > longest or not all(_PLAIN_WORD.fullmatch(word) for word in words):
            return False
    return True


def _is_shown(value: str) -> bool:
    """Whether it only says what belongs there: `YOUR_TOKEN`, `your-key-here`, `xxxx`."""
    if value == REDACTED:
        return True
    written = re.fullmatch(r"[\w -]{1,60}|[*.#•…-]+", value) is not None
    beside = re.sub(r"[xX]{4,}", "", value)
    return written and is_stand_in(value) and not is_random(value) and (len(beside) <= 6 or is_stand_in(beside))


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
    found = next(_addresses(url), None)
    return found is not None and part.end <= found.end("host")
