"""Secrets written into a client's configuration: where each stands and what it looks like, never what it is."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.core.secrets import (
    REDACTED,
    Found,
    Match,
    Path,
    find_secret_values,
    find_secrets,
    is_reference,
    is_stand_in,
    redact,
)

_DEFAULT = re.compile(r"\$\{(?:env:)?(?P<name>\w{1,100}):-(?P<value>[^}]{1,500})\}")
_USER_TOKEN = re.compile(r"://(?P<secret>[^\s/?#:@\"'<>]{16,256})@")
_HEADER = re.compile(r"(?P<name>[A-Za-z][\w-]*)\s*:\s*(?P<value>.+)", re.DOTALL)
_HEADER_FLAGS = ("--header", "-H", "--headers")
# In an environment these two always mean one; in other texts "pass" and "pat" are words.
_PASS = re.compile(r"(?:^|_)(?:PASS|PAT)$", re.IGNORECASE)
_WORD = re.compile(r"true|false|yes|no|on|off|none|null|\d{1,4}", re.IGNORECASE)


@dataclass(frozen=True, repr=False)
class Inline:
    """A secret in a document. `value` is for comparing within one reading only: it is neither shown nor kept."""

    path: Path
    rule: str
    value: str

    def __repr__(self) -> str:
        return f"Inline({pointer(self.path)}, {self.rule})"

    def told(self, known: "Sequence[Inline]") -> dict[str, str]:
        """What may be kept: the place, the rule, and a redaction that does not even tell the length.

        A place may repeat one of the `known` secrets, as the name of an entry for example.
        """
        return {"path": blanked(pointer(self.path), known), "looks": self.rule, "redaction": REDACTED}


def pointer(path: Path) -> str:
    """RFC 6901. Keys come from outside as well, so what looks like a secret in one is left out."""
    return redact("".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path))[:500]


def inline_secrets(raw: Mapping[str, Any], path: Path) -> list[Inline]:
    """Every secret of one entry that stands at `path`, once for each string."""
    found: dict[Path, Inline] = {}
    for each in (*find_secret_values(raw), *_more(raw)):
        value = _at(raw, each.path)
        secret = value[each.match.start : each.match.end]
        named = each.match.rule == "named-value" and "args" in each.path
        rule = "flag" if named else each.match.rule
        found.setdefault(each.path, Inline((*path, *each.path), rule, secret))
    return list(found.values())


def present(path: Path, raw: Any, known: Mapping[str, Inline]) -> list[Inline]:
    """Which of the document's secrets, by their value, stand anywhere in this entry, its name and keys included."""
    text = "\n".join((*map(str, path), *(part for inner, text in _strings(raw) for part in (*map(str, inner), text))))
    return [each for value, each in known.items() if value in text]


def repeated(path: Path, raw: Any, own: Sequence[Inline], here: Sequence[Inline]) -> Iterator[Inline]:
    """The same values once more, where nothing around them gives them away."""
    telling = [each for each in here if len(each.value) >= 12]
    places = {each.path for each in own}
    for inner, text in _strings(raw) if telling else ():
        secret = next((each for each in telling if each.value in text), None)
        if secret is not None and (*path, *inner) not in places:
            yield Inline((*path, *inner), secret.rule, secret.value)


def _more(raw: Mapping[str, Any]) -> Iterator[Found]:
    """What only the shape of an entry gives away, besides what every text is looked through for."""
    for path, text in _strings(raw):
        for default in _DEFAULT.finditer(text):
            if list(find_secret_values({default["name"]: default["value"]})):
                yield Found(path, Match("named-value", *default.span("value")))
        for user in _USER_TOKEN.finditer(text):
            if not is_stand_in(user["secret"]):
                yield Found(path, Match("url-password", *user.span("secret")))
        if path and isinstance(path[-1], str) and _PASS.search(path[-1]) and _is_value(text):
            yield Found(path, Match("named-value", 0, len(text)))
    arguments = raw.get("args")
    if isinstance(arguments, list):
        yield from _in_arguments(arguments)


def _in_arguments(arguments: Sequence[Any]) -> Iterator[Found]:
    """`--header "X-Api-Key: value"`, in one argument or in two, and `--header=X-Api-Key:value`."""
    for index, text in enumerate(arguments):
        if not isinstance(text, str):
            continue
        flag, sign, rest = text.partition("=")
        offset = len(flag) + 1 if sign and flag in _HEADER_FLAGS else 0
        if not offset and not (index and arguments[index - 1] in _HEADER_FLAGS):
            continue
        header = _HEADER.fullmatch(rest if offset else text)
        if header and list(find_secret_values({header["name"]: header["value"].strip()})):
            yield Found(("args", index), Match("authorization", offset + header.start("value"), len(text)))


def _is_value(text: str) -> bool:
    return len(text) >= 3 and not (is_stand_in(text) or is_reference(text) or _WORD.fullmatch(text))


def _strings(raw: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    if isinstance(raw, str):
        yield path, raw
    elif isinstance(raw, Mapping):
        for key, inner in raw.items():
            yield from _strings(inner, (*path, str(key)))
    elif isinstance(raw, list):
        for index, inner in enumerate(raw):
            yield from _strings(inner, (*path, index))


def _at(raw: Any, path: Path) -> str:
    for part in path:
        raw = raw[part]
    return raw if isinstance(raw, str) else ""


def blanked(value: Any, secrets: Sequence[Inline]) -> Any:
    """`value` without any of them and without whatever else looks like one: the last look before something is kept."""
    if isinstance(value, str):
        for each in secrets:
            if len(each.value) >= 6 or value == each.value:
                value = value.replace(each.value, REDACTED)
        return redact(value) if find_secrets(value) else value
    if isinstance(value, Mapping):
        return {blanked(key, secrets): blanked(inner, secrets) for key, inner in value.items()}
    if isinstance(value, list):
        return [blanked(inner, secrets) for inner in value]
    return value
