"""MCP messages over streamable HTTP, as they are on the wire.

The SDK's client parses answers into models and drops what it does not know; fingerprints need every field, so this
speaks JSON-RPC itself and takes only names and numbers from `mcp_types`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any

from django.utils.translation import gettext as _

from registry.core.outbound import Door, Limits, Stream, TooLarge, Unreadable
from registry.discovery.probing import protocol

ACCEPT = "application/json, text/event-stream"
CLIENT_INFO = {"name": "steward-registry", "version": "1"}
CLIENT_CAPABILITIES: dict[str, Any] = {}
"""Always the same: servers list other tools for clients that can do more."""

REQUEST = Limits(connect=5, read=10, total=15)
MAX_BYTES = 5_000_000
"""Of everything one server says in one look; public servers list at most 121 kB."""

_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(frozen=True)
class Reply:
    """An answer: its HTTP status and, where the body holds one, the JSON-RPC message for our request."""

    status: int
    headers: Mapping[str, str]
    message: Mapping[str, Any] | None = None

    @property
    def result(self) -> Mapping[str, Any] | None:
        result = self.message.get("result") if self.message else None
        return result if isinstance(result, dict) else None

    @property
    def error(self) -> Mapping[str, Any] | None:
        error = self.message.get("error") if self.message else None
        return error if isinstance(error, dict) else None

    @property
    def code(self) -> int | None:
        code = self.error.get("code") if self.error else None
        return code if isinstance(code, int) else None

    @property
    def asks_for_token(self) -> bool:
        challenged = self.status == HTTPStatus.FORBIDDEN and "www-authenticate" in self.headers
        return self.status == HTTPStatus.UNAUTHORIZED or challenged


@dataclass
class Conversation:
    """One client's exchange with one endpoint. `version` is the revision spoken once it is agreed."""

    door: Door
    url: str
    version: str = ""
    session: str = ""
    size: int = field(default=0, init=False)
    certificate_ends: datetime | None = field(default=None, init=False)
    _number: int = field(default=0, init=False)

    def ask(self, method: str, params: Mapping[str, Any] | None = None, *, token: str = "") -> Reply:
        """Send a request and wait for its answer. Raises the errors of `core.outbound`."""
        self._number += 1
        body = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": self._params(params)}
        limits = replace(REQUEST, size=max(MAX_BYTES - self.size, 0))
        headers = self._headers(method) | ({"Authorization": f"Bearer {token}"} if token else {})
        with self.door.stream("POST", self.url, headers=headers, json=body, limits=limits) as stream:
            self.certificate_ends = stream.certificate_ends or self.certificate_ends
            try:
                message = _answer_in(stream, self._number)
            finally:
                self.size += stream.received
            return Reply(stream.status, stream.headers, message)

    def notify(self, method: str) -> None:
        body = {"jsonrpc": "2.0", "method": method}
        with self.door.stream("POST", self.url, headers=self._headers(method), json=body, limits=REQUEST):
            pass  # 202 without a body; a server that minds is found out by its next answer

    def end(self) -> None:
        """Give the session back, as a client should."""
        if self.session:
            with self.door.stream("DELETE", self.url, headers=self._headers(""), limits=replace(REQUEST, total=5)):
                pass
            self.session = ""

    @property
    def modern(self) -> bool:
        return self.version in protocol.MODERN_PROTOCOL_VERSIONS

    def _headers(self, method: str) -> dict[str, str]:
        headers = {"Accept": ACCEPT}
        if self.version:
            headers["MCP-Protocol-Version"] = self.version
        if self.modern and method:
            headers["Mcp-Method"] = method
        if self.session:
            headers["Mcp-Session-Id"] = self.session
        return headers

    def _params(self, params: Mapping[str, Any] | None) -> dict[str, Any]:
        given = dict(params or {})
        if self.modern:
            given["_meta"] = {
                protocol.PROTOCOL_VERSION_META_KEY: self.version,
                protocol.CLIENT_INFO_META_KEY: CLIENT_INFO,
                protocol.CLIENT_CAPABILITIES_META_KEY: CLIENT_CAPABILITIES,
            }
        return given


def _answer_in(stream: Stream, number: int) -> Mapping[str, Any] | None:
    """The message that answers request `number`, from a JSON body or an event stream; None when there is none."""
    kind = stream.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        texts: Iterable[str] = (data for event, data in events(stream.lines()) if event == "message")
    elif kind == "application/json" or kind.endswith("+json"):
        texts = [b"".join(stream).decode(errors="replace")]
    else:
        return None
    for text in texts:
        for message in _messages(text):
            answers = message.get("id") == number or ("error" in message and message.get("id") is None)
            if answers and ("result" in message or "error" in message):
                return message
    return None


def _messages(text: str) -> list[dict[str, Any]]:
    """JSON-RPC messages in `text`, a batch or one. Raises `Unreadable` for what no database could keep as JSON."""
    try:
        parsed = json.loads(text, parse_constant=_no_constant)
        json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return []
    if _ESCAPED_NUL.search(text):
        raise Unreadable(_("Its answer holds a NUL character."))
    listed = parsed if isinstance(parsed, list) else [parsed]
    return [each for each in listed if isinstance(each, dict) and each.get("jsonrpc") == "2.0"]


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are not JSON


def events(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Server-sent events as (event, data)."""
    event = "message"
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                yield event, "\n".join(data)
            event, data = "message", []
            continue
        name, _colon, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "data":
            data.append(value)


__all__ = ["CLIENT_CAPABILITIES", "CLIENT_INFO", "MAX_BYTES", "REQUEST", "Conversation", "Reply", "TooLarge", "events"]
