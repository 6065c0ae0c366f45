"""From a file's text to its rows: which format it is, and where its entries are."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from registry.core import nesting
from registry.core.errors import Malformed
from registry.discovery.entries import Configured, Entry, Refusal
from registry.discovery.formats import clients, docker, json_text, server_json
from registry.discovery.formats.bounds import Beyond, check_rows, too_deep

MAX_BYTES = 10 * 1024 * 1024
_NOT_SERVERS = (
    "This is not a list of servers: expected server.json entries, Docker catalogue rows or a client's configuration."
)
_ROOTS = ("experimental", "inputs", "projects", "mcp")
"""Keys that only configurations have, so that one without servers is told as such."""


@dataclass(frozen=True)
class Row:
    """One entry of a document: its index there, and what was read from it."""

    index: int
    read: Entry | Configured | Refusal


def read_document(text: str, *, file: str = "", client: str = "", place: str = "") -> list[Row]:
    """Every entry of a JSON document, of a server.yaml, or of a client's configuration in JSON or TOML.

    `file`, `client` and `place` say whose configuration it is, as far as the caller knows. Raises `Malformed` for
    what holds no servers at all, `Beyond` for what is too much to read; no text of the document is in the message or in
    what it was raised from.
    """
    if len(text) > MAX_BYTES:
        raise Malformed("This is larger than 10 MB. Split it.")
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise Malformed("This is empty.")
    try:
        document = json_text.load(text)
    except RecursionError as error:
        raise too_deep(nesting.MOST) from error
    except ValueError as error:
        document = _loosely(text, error)
    if clients.looks_like(document):
        read = clients.read_configuration(document, file=file, client=client, place=place)
        return [Row(index, each) for index, each in enumerate(read)]
    return read_rows(document)


def _is_empty_configuration(document: Any) -> bool:
    return isinstance(document, Mapping) and not document.keys().isdisjoint(_ROOTS)


def _loosely(text: str, json_error: ValueError) -> Any:
    """JSON with comments, TOML, a server.yaml; anything else is told about as the JSON it most likely means to be."""
    beyond = None
    try:
        document = clients.parse_configuration(text)
    except Beyond as error:
        document, beyond = None, error
    if clients.looks_like(document) or _is_empty_configuration(document):
        return document
    if text.lstrip()[:1] not in ("{", "["):
        try:
            document = docker.load_yaml(text)
        except Beyond as error:
            document, beyond = None, beyond or error
        except ValueError:
            document = None
        if isinstance(document, Mapping) and docker.looks_like(document):
            return document
    place = ""
    if isinstance(json_error, json.JSONDecodeError):
        place = f" (line {json_error.lineno}, column {json_error.colno})"
    # Not "from": a parser's error holds the whole text, and with it whatever secrets stand in it.
    if beyond is not None:
        said = _("This is not JSON%(place)s, and not TOML or YAML that is read here: %(limit)s")
        raise Beyond(said % {"place": place, "limit": beyond.message}) from None
    raise Malformed(f"This is neither JSON nor TOML nor a Docker server.yaml{place}.") from None


def read_rows(document: Any) -> list[Row]:
    """Rows of a parsed document: one object, an array, or a registry's answer. Raises `Malformed`, `Beyond`."""
    rows = list(_entries(document))
    check_rows([_unwrapped(raw) if isinstance(raw, Mapping) else raw for raw in rows])
    return [Row(index, _read(raw)) for index, raw in enumerate(rows)]


def _entries(document: Any) -> Iterator[Any]:
    if isinstance(document, list):
        yield from document
    elif isinstance(document, Mapping) and isinstance(document.get("servers"), list):
        yield from document["servers"]
    elif isinstance(document, Mapping) and _reader_of(_unwrapped(document)) is not None:
        yield document
    elif _is_empty_configuration(document):
        raise Malformed(clients.unknown_shape(document))
    else:
        raise Malformed(_NOT_SERVERS)


def _unwrapped(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """`{"server": …, "_meta": …}` of a registry's answer and `{"source": …, "entry": …}` of a collection."""
    for key in ("server", "entry"):
        if isinstance(raw.get(key), Mapping):
            return raw[key]
    return raw


def _reader_of(raw: Mapping[str, Any]) -> Any:
    if docker.looks_like(raw):
        return docker.read_row
    return server_json.read if server_json.looks_like(raw) else None


def _read(raw: Any) -> Entry | Refusal:
    if not isinstance(raw, Mapping):
        return Refusal("", {"": ["This is not an object, so it describes no server."]})
    raw = _unwrapped(raw)
    reader = _reader_of(raw)
    if reader is None:
        return Refusal("", {"": ["This describes no server: it has neither a name nor packages nor remotes."]})
    try:
        return reader(raw)
    except RecursionError:
        return Refusal("", {"": ["This is nested too deeply."]})
