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
    name_certainty,
    redact,
)
from registry.discovery.address_secrets import is_random, private_parts

_DEFAULT = re.compile(r"\$\{(?:env:)?(?P<name>\w{1,100}):-(?P<value>[^}]{1,500})\}")
_USER_TOKEN = re.compile(r"://(?P<secret>[^\s/?#:@\"'<>]{16,256})@")
_HEADER = re.compile(r"(?P<name>[A-Za-z][\w-]*)\s*:\s*(?P<value>.+)", re.DOTALL)
_HEADER_FLAGS = ("--header", "-H", "--headers")
# In an environment these two always mean one; in other texts "pass" and "pat" are words.
_PASS = re.compile(r"(?:^|_)(?:PASS|PAT)$", re.IGNORECASE)
_WORD = re.compile(r"true|false|yes|no|on|off|none|null|\d{1,3}", re.IGNORECASE)
_GIVEN = ("env", "environment", "headers", "http_headers")
# `mysql -pV`, `curl -u bob:V`, `tool -k V`: what short flags take, told from ports, paths and words by its looks.
_SHORT = re.compile(r"-(?P<flag>[kpt])(?P<sign>=?)(?P<value>.*)", re.DOTALL)
_PORTS = re.compile(r"[\d.:/]+(?:/(?:tcp|udp))?")
_ABOUT = re.compile(r"(?:^|[_-])(?:id|ids|sha\d*|hash|digest|commit|revision|version|path|dir|url|uri)$", re.IGNORECASE)
_RUNS_CONTAINERS = re.compile(r"(?:^|[\\/])(?:docker|podman|nerdctl|sudo)(?:\.exe)?$", re.IGNORECASE)
_NOT_ROOT = ("mcpServers", "servers", "mcp_servers", "mcp", "experimental", "projects", "inputs")


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
    text = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return redact(text.encode("utf-8", "ignore").decode().replace("\0", ""))[:500]


def inline_secrets(raw: Mapping[str, Any], path: Path) -> list[Inline]:
    """Every secret of one entry that stands at `path`, once for each string."""
    found: dict[Path, Inline] = {}
    for each in (*find_secret_values(raw), *_more(raw)):
        value = _at(raw, each.path)
        secret = value[each.match.start : each.match.end]
        named = each.match.rule == "named-value" and "args" in each.path
        rule = "flag" if named else each.match.rule
        found.setdefault(each.path, Inline((*path, *each.path), rule, secret))
    return [*found.values(), *_names(raw, path)]


def document_secrets(document: Mapping[str, Any]) -> list[tuple[str, Inline]]:
    """Secrets beside the entries, each with the id by which entries refer to it: a prompt's default has `${input:id}`.

    The id is empty for what stands at the root of the document.
    """
    nested = document.get("mcp")
    holder = nested if isinstance(nested, Mapping) and "inputs" not in document else document
    within: Path = () if holder is document else ("mcp",)
    found: list[tuple[str, Inline]] = []
    inputs = holder.get("inputs")
    for index, each in enumerate(inputs if isinstance(inputs, list) else ()):
        if isinstance(each, Mapping):
            told = {secret.path: secret for secret in inline_secrets(each, (*within, "inputs", index))}
            default, where = each.get("default"), (*within, "inputs", index, "default")
            if each.get("password") is True and isinstance(default, str) and default and not is_stand_in(default):
                told.setdefault(where, Inline(where, "named-value", default))
            found += [(str(each.get("id", "")), secret) for secret in told.values()]
    root = {key: value for key, value in document.items() if key not in _NOT_ROOT}
    return [*found, *(("", secret) for secret in inline_secrets(root, ()))]


def secret_name(path: Path, name: str) -> list[Inline]:
    """The name of an entry, where it is a token."""
    return [Inline(path, "random-name", name)] if _is_token(name) else []


def _names(raw: Mapping[str, Any], path: Path) -> Iterator[Inline]:
    """A token in place of a variable's name."""
    for inner, _text in _leaves(raw):
        if len(inner) > 1 and inner[-2] in _GIVEN and _is_token(str(inner[-1])):
            yield Inline((*path, *inner), "random-name", str(inner[-1]))


def _is_token(name: str) -> bool:
    return bool(find_secrets(name)) or (len(name) >= 16 and is_random(name))


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
    for path, text in _leaves(raw):
        for default in _DEFAULT.finditer(text):
            if list(find_secret_values({default["name"]: default["value"]})):
                yield Found(path, Match("named-value", *default.span("value")))
        for user in _USER_TOKEN.finditer(text):
            if not is_stand_in(user["secret"]):
                yield Found(path, Match("url-password", *user.span("secret")))
        given = len(path) > 1 and path[-2] in _GIVEN
        if path and isinstance(path[-1], str) and _is_named(path[-1], given) and _is_value(text):
            yield Found(path, Match("named-value", 0, len(text)))
        elif given and _is_telling(str(path[-1]), text):
            yield Found(path, Match("random-value", 0, len(text)))
        if not given:
            yield from (Found(path, Match(*part)) for part in private_parts(text))
    launch = raw.get("transport")
    for holder, where in ((raw, ()), (launch, ("transport",))):
        arguments = holder.get("args") if isinstance(holder, Mapping) else None
        if isinstance(holder, Mapping) and isinstance(arguments, list):
            found = (*_in_arguments(arguments), *_short_flags(str(holder.get("command") or ""), arguments))
            yield from (Found((*where, *each.path), each.match) for each in found)


def _is_named(name: str, given: bool) -> bool:
    """In an environment and in headers a certain name needs no certain value: a password may be a number."""
    return bool(_PASS.search(name)) or (given and name_certainty(name) == "certain")


def _is_telling(name: str, text: str) -> bool:
    """Under a plain name only what looks like nothing else."""
    if len(text) < 16 or _ABOUT.search(name) or is_stand_in(text) or is_reference(text) or re.search(r"[\s/\\]", text):
        return False
    return is_random(text)


def _short_flags(command: str, arguments: Sequence[Any]) -> Iterator[Found]:
    for index, text in enumerate(arguments):
        before = arguments[index - 1] if index else None
        if not isinstance(text, str):
            continue
        user, sign, password = text.partition(":")
        if before in ("-u", "--user") and sign and user and not _RUNS_CONTAINERS.search(command):
            if len(password) >= 4 and not password.startswith("/") and not is_stand_in(password):
                yield Found(("args", index), Match("flag", len(user) + 1, len(text)))
        elif before in ("-k", "-p", "-t") and _is_taken(text):
            yield Found(("args", index), Match("flag", 0, len(text)))
        elif (short := _SHORT.fullmatch(text)) and _is_taken(short["value"]):
            yield Found(("args", index), Match("flag", short.start("value"), len(text)))


def _is_taken(value: str) -> bool:
    """Whether what stands behind a short flag is no port, path, package or word."""
    if len(value) < 6 or value.startswith("-") or _PORTS.fullmatch(value) or re.search(r"[\s/\\=@]", value):
        return False
    if is_stand_in(value) or is_reference(value):
        return False
    mixed = bool(re.search(r"\d", value)) and bool(re.search(r"[A-Za-z]", value))
    return is_random(value) or (mixed and not re.fullmatch(r"[a-z]+(?:[-_.][a-z]+)*[-_.]?v?\d{1,4}(?:\.\d+)*", value))


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


def _leaves(raw: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Texts, and numbers as texts."""
    if isinstance(raw, str) or (isinstance(raw, int | float) and not isinstance(raw, bool)):
        yield path, str(raw)
    elif isinstance(raw, Mapping):
        for key, inner in raw.items():
            yield from _leaves(inner, (*path, str(key)))
    elif isinstance(raw, list):
        for index, inner in enumerate(raw):
            yield from _leaves(inner, (*path, index))


def _at(raw: Any, path: Path) -> str:
    for part in path:
        raw = raw[part]
    return str(raw) if isinstance(raw, str | int | float) else ""


def storable(value: Any) -> Any:
    """`value` without what no database takes: halves of surrogate pairs and the null character."""
    if isinstance(value, str):
        return value.encode("utf-8", "ignore").decode().replace("\0", "")
    if isinstance(value, Mapping):
        return {storable(key): storable(inner) for key, inner in value.items()}
    return [storable(inner) for inner in value] if isinstance(value, list | tuple) else value


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
