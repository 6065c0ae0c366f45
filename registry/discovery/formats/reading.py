"""The tools of a reader: pick a field by any of its spellings, and collect what is wrong, noteworthy or secret."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from rfc8785 import CanonicalizationError

from registry.catalog.services import EndpointFacts, InputFacts, ToolFacts, canonical_uri
from registry.core.secrets import (
    LABELS,
    Path,
    find_secret_values,
    find_secrets,
    is_stand_in,
    name_certainty,
    redact,
)
from registry.discovery.entries import Entry, Refusal, facts_digest

NAME = re.compile(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+")
TRANSPORTS = {
    "stdio": "stdio",
    "sse": "sse",
    "streamable-http": "streamable-http",
    "streamable_http": "streamable-http",
    "streamable": "streamable-http",
    "http": "streamable-http",
}
KNOWN_REGISTRIES = {"npm", "pypi", "oci", "nuget", "mcpb", "cargo"}
_LIMITS = {"title": 100, "description": 2000, "release": 255, "url": 500, "identifier": 300}
_TEMPLATE = re.compile(r"\$\{[^}]*\}|\{\{[^}]*\}\}")
# A range or a moving tag is not a release: what runs tomorrow is not what was looked at today.
_MOVING = re.compile(r"latest|next|\*|x", re.IGNORECASE)
_RANGE = re.compile(r"[\^~<>=|*]|\s-\s|\.x\b")
_INPUT_NAME = re.compile(r"[\w.:@/+-]{1,120}")
MAX_NOTES = 40


class Reading:
    """One entry being read. `refuse` and `note` take the path of a field and words, never its value."""

    def __init__(self, raw: Mapping[str, Any], generation: str) -> None:
        self.raw = raw
        self.generation = generation
        self.notes: list[str] = []
        self.problems: dict[str, list[str]] = {}
        self.name = ""
        self._passed_over: dict[str, list[str]] = {}
        self._endpoints: dict[str, EndpointFacts] = {}
        self._tools: dict[str, ToolFacts] = {}

    # --- What people are told --------------------------------------------------------------------------
    def refuse(self, path: str, why: str) -> None:
        said = self.problems.setdefault(_shown(path), [])
        if why not in said:
            said.append(why)

    def pass_over(self, path: str, why: str) -> None:
        """The entry is valid, but no server."""
        self._passed_over[_shown(path)] = [why]

    def note(self, path: str, what: str) -> None:
        text = f"{_shown(path)}: {what}" if path else what
        if text not in self.notes and len(self.notes) < MAX_NOTES:
            self.notes.append(text)

    def look_for_secrets(self, raw: Any, identity: Iterable[str]) -> None:
        """Refuse for a secret where it names or reaches the server; anywhere else its value is left out and noted.

        `identity` are dotted patterns of fields, `*` standing for an index, that cannot do without their value.
        """
        fatal = [pattern.split(".") for pattern in identity]
        for found in find_secret_values(raw):
            looks = LABELS[found.match.rule]
            if any(_fits(found.path, pattern) for pattern in fatal):
                self.refuse(found.dotted, f"looks like it holds {looks}; publish the entry without it")
            else:
                self.note(found.dotted, f"looks like {looks}; its value was left out")

    # --- Fields ----------------------------------------------------------------------------------------
    def text(self, holder: Any, *keys: str, path: str = "", limit: str = "", required: bool = False) -> str:
        """The first of `keys` that is there, as trimmed text; cut to its limit with a note."""
        key, value = pick(holder, *keys)
        where = f"{path}.{key}" if path else key
        if value is None:
            if required:
                self.refuse(where, "is missing")
            return ""
        if not isinstance(value, str):
            self.refuse(where, "must be text")
            return ""
        if not storable(value):
            self.refuse(where, "holds characters that cannot be stored")
            return ""
        value = value.strip()
        if required and not value:
            self.refuse(where, "is empty")
        most = _LIMITS.get(limit, 0)
        if most and len(value) > most:
            if limit in ("url", "identifier"):
                self.refuse(where, f"is longer than {most} characters")
                return ""
            self.note(where, f"was cut to {most} characters")
            value = value[:most]
        return value

    def prose(self, holder: Any, *keys: str, path: str = "", limit: str) -> str:
        """Text for people: a secret inside is blanked out."""
        return redact(self.text(holder, *keys, path=path, limit=limit))[: _LIMITS[limit]]

    def listed(self, holder: Any, *keys: str, path: str = "") -> list[tuple[str, Mapping[str, Any]]]:
        """Objects of a list with the path of each; a missing list is empty."""
        key, value = pick(holder, *keys)
        where = f"{path}.{key}" if path else key
        if value is None:
            return []
        if not isinstance(value, list):
            self.refuse(where, "must be a list")
            return []
        objects = []
        for index, inner in enumerate(value):
            if isinstance(inner, Mapping):
                objects.append((f"{where}.{index}", inner))
            else:
                self.refuse(f"{where}.{index}", "must be an object")
        return objects

    def page(self, holder: Any, *keys: str, path: str = "") -> str:
        """An http(s) address for people; anything else is dropped with a note."""
        key, _ = pick(holder, *keys)
        where = f"{path}.{key}" if path else key
        url = self.text(holder, *keys, path=path, limit="url")
        if url and not is_web_address(url):
            self.note(where, "is not an http or https address and was left out")
            return ""
        return url

    def server_name(self, name: str) -> None:
        if not name:
            self.refuse("name", "is empty")
        elif not 3 <= len(name) <= 200 or not NAME.fullmatch(name):
            self.refuse("name", "must be reverse-DNS with exactly one slash, for example com.example/warehouse-sql")
        elif find_secrets(name):
            self.refuse("name", "looks like it holds a secret")
        else:
            self.name = name

    def release(self, version: str, path: str) -> str:
        """A version as its publisher numbers it; a range or moving tag is refused, an unfilled template dropped."""
        if _TEMPLATE.search(version):
            self.note(path, "is a template nobody filled in; the release is unknown")
            return ""
        if _MOVING.fullmatch(version) or _RANGE.search(version):
            self.refuse(path, "must be one release, not a range or a moving tag such as latest")
            return ""
        return version

    # --- Parts -----------------------------------------------------------------------------------------
    def add_remote(self, path: str, transport: str, url: str, inputs: list[InputFacts]) -> None:
        if not url:
            return
        if not is_web_address(url):
            self.refuse(f"{path}.url", "must be an http or https address")
            return
        url, asked = without_stand_ins(url)
        if asked:
            self.note(f"{path}.url", "shows where a credential goes; it is declared as an input instead")
        host = urlsplit(url).hostname or ""
        if host == "localhost" or host.startswith("127."):
            self.note(f"{path}.url", "points at the reader's own machine")
        self._add(path, {"transport": transport, "url": url, "inputs": merged(inputs, asked)})

    def add_package(self, path: str, facts: EndpointFacts) -> None:
        if facts.get("package_identifier"):
            self._add(path, facts)

    def _add(self, path: str, facts: EndpointFacts) -> None:
        try:
            uri = canonical_uri(facts)
        except ValueError:
            self.refuse(f"{path}.url", "is not a well-formed address")
            return
        if uri in self._endpoints:
            self.note(path, "names an endpoint that is listed already")
            return
        if len(uri) > 700:
            self.refuse(path, "names an endpoint that is longer than 700 characters")
            return
        self._endpoints[uri] = facts

    def add_tool(self, path: str, tool: ToolFacts) -> None:
        name = tool["name"]
        if not name or len(name) > 128 or find_secrets(name):
            self.note(path, "has no usable name and was left out")
        elif name in self._tools:
            self.note(path, "names a tool that is listed already")
        else:
            self._tools[name] = tool

    def result(self, **facts: Any) -> Entry | Refusal:
        if not self._endpoints and not self.problems and not self._passed_over:
            self.pass_over("", "lists neither packages nor remotes, so there is nothing to reach and to govern")
        entry = Entry(
            name=self.name,
            endpoints=list(self._endpoints.values()),
            tools=list(self._tools.values()),
            generation=self.generation,
            notes=self.notes,
            **facts,
        )
        try:
            facts_digest(entry.facts())
        except (CanonicalizationError, UnicodeEncodeError):
            self.refuse("", "holds numbers or characters that JSON cannot carry exactly")
        if self.problems:
            return Refusal(self.name, self.problems)
        return Refusal(self.name, self._passed_over, nothing_wrong=True) if self._passed_over else entry


def pick(holder: Any, *keys: str) -> tuple[str, Any]:
    """The first of `keys` that `holder` has, and its value; the first key and None when it has none."""
    if isinstance(holder, Mapping):
        for key in keys:
            if holder.get(key) is not None:
                return key, holder[key]
    return keys[0], None


def storable(text: str) -> bool:
    """PostgreSQL keeps neither NUL nor half of a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def texts(value: Any) -> Iterator[str]:
    """Every string in nested data, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def is_web_address(url: str) -> bool:
    if re.search(r"\s", url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme.lower() in ("http", "https") and bool(parts.netloc)
    except ValueError:
        return False


def without_stand_ins(url: str) -> tuple[str, list[InputFacts]]:
    """The address without `?key=<YOUR_KEY>`, and the inputs such places ask for. Any other query stays."""
    parts = urlsplit(url)
    kept, asked = [], []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name_certainty(name) in ("certain", "possible") and is_stand_in(value):
            asked.append(declared_input(name, "url", required=True, secret=True))
        else:
            kept.append((name, value))
    if not asked:
        return url, []
    return urlunsplit(parts._replace(query=urlencode(kept))), asked


def declared_input(name: str, placed_in: str, *, required: bool = False, secret: bool = False) -> InputFacts:
    """An input without its value. A name that says "token" is a secret even where its publisher forgot to say so."""
    return {
        "name": name,
        "placed_in": placed_in,
        "required": required,
        "secret": secret or name_certainty(name) == "certain",
    }


def merged(*groups: Iterable[InputFacts]) -> list[InputFacts]:
    """Each input once, in order; names that cannot be names, or hold a secret, are left out."""
    inputs: dict[tuple[str, str], InputFacts] = {}
    for group in groups:
        for each in group:
            name = each["name"]
            if _INPUT_NAME.fullmatch(name) and not find_secrets(name):
                inputs.setdefault((name, each["placed_in"]), each)
    return list(inputs.values())


def claimed_class(annotations: Any) -> str:
    """The class a tool's own hints claim; empty when it gives none. Absent hints have the protocol's defaults."""
    if not isinstance(annotations, Mapping):
        return ""
    reads, destroys = annotations.get("readOnlyHint"), annotations.get("destructiveHint")
    if not isinstance(reads, bool) and not isinstance(destroys, bool):
        return ""
    if reads is True:
        return "read"
    return "write" if destroys is False else "destructive"


def cleaned(value: Any) -> Any:
    """Structured data with every secret string blanked out and everything JSON cannot hold left out."""
    for found in list(find_secret_values(value)):
        value = _blanked(value, found.path)
    return value


def _blanked(value: Any, path: Path) -> Any:
    if not path:
        again = redact(value) if isinstance(value, str) else value
        return again if again != value else "[REDACTED]"
    key, rest = path[0], path[1:]
    if isinstance(value, Mapping):
        return {name: _blanked(inner, rest) if str(name) == key else inner for name, inner in value.items()}
    return [_blanked(inner, rest) if index == key else inner for index, inner in enumerate(value)]


def _fits(path: Path, pattern: list[str]) -> bool:
    return len(path) == len(pattern) and all(
        want == "*" or want == str(have) for have, want in zip(path, pattern, strict=True)
    )


def _shown(path: str) -> str:
    """A path fit for a report: keys come from outside as well, and could hold anything."""
    return redact(path.replace("\x00", "").encode("utf-8", "replace").decode())[:160]
