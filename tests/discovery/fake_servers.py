"""MCP servers of all kinds as answers to `tests.listeners.http`, and a bridge that puts real stdio ones behind it."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.listeners import Asked, Listener, Told, http

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
PATH = "/mcp"

Answer = Callable[[Asked], Told]


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "description": f"Does {name}.", "inputSchema": {"type": "object"}, **more}


def result(asked: Asked, value: dict[str, Any], **headers: str) -> Told:
    return Told(body={"jsonrpc": "2.0", "id": asked.json["id"], "result": value}, headers=headers)


def error(asked: Asked, code: int, status: int = 200, data: Any = None) -> Told:
    said = {"code": code, "message": "no"} | ({"data": data} if data is not None else {})
    return Told(status, {"jsonrpc": "2.0", "id": asked.json.get("id"), "error": said})


def as_events(told: Told) -> Told:
    """The same answer as an event stream, among other events."""
    message = "".join(f"data:{line}\n" for line in json.dumps(told.body, indent=1).splitlines())
    notice = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
    text = f": hello\r\nevent: message\r\ndata: {notice}\r\n\r\nid: 7\n{message}\n"
    return Told(told.status, text, {**told.headers, "Content-Type": "text/event-stream; charset=utf-8"})


def _cursor(page: int) -> str:
    return f"page {page} & more"


class Fake:
    """A server that lists `tools` in pages; `modern` or of the handshake's time, with sessions."""

    def __init__(
        self,
        *pages: Sequence[dict[str, Any]],
        modern: bool = True,
        versions: Sequence[str] = (MODERN,),
    ) -> None:
        self.pages = pages or ([tool("search"), tool("delete_branch")],)
        self.modern = modern
        self.versions = versions
        self.sessions: set[str] = set()

    def __call__(self, asked: Asked) -> Told:
        if asked.path != PATH:
            return Told(404)
        if asked.method == "DELETE":
            self.sessions.discard(asked.headers["Mcp-Session-Id"])
            return Told(204)
        if asked.method != "POST":
            return Told(405)
        if "application/json" not in asked.headers["Accept"] or "text/event-stream" not in asked.headers["Accept"]:
            return Told(406)
        return self._modern(asked) if self.modern else self._legacy(asked)

    def _modern(self, asked: Asked) -> Told:
        body = asked.json
        meta = body["params"]["_meta"]
        assert asked.headers["Mcp-Method"] == body["method"]
        assert set(meta) >= {f"io.modelcontextprotocol/{key}" for key in ("clientInfo", "clientCapabilities")}
        if meta["io.modelcontextprotocol/protocolVersion"] not in self.versions:
            return error(asked, -32022, 400, {"supported": list(self.versions)})
        if body["method"] == "server/discover":
            value = {
                "supportedVersions": list(self.versions),
                "capabilities": {"tools": {}, "prompts": {}},
                "instructions": "Be kind.",
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "fake", "version": "1", "extra": {}}},
            }
            return result(asked, value)
        return self._list(asked)

    def _legacy(self, asked: Asked) -> Told:
        body = asked.json
        session = asked.headers["Mcp-Session-Id"]
        if body["method"] == "initialize":
            self.sessions.add("session-1")
            value = {
                "protocolVersion": LEGACY,
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "old", "version": "0.2.0"},
            }
            return result(asked, value, **{"Mcp-Session-Id": "session-1"})
        if session not in self.sessions:
            return Told(400, "No session", {"Content-Type": "text/plain"})
        assert asked.headers["MCP-Protocol-Version"] == LEGACY
        if "id" not in body:
            return Told(202)
        return self._list(asked)

    def _list(self, asked: Asked) -> Told:
        body = asked.json
        if body["method"] == "prompts/list":
            return result(asked, {"prompts": [{"name": "greet"}]})
        if body["method"] != "tools/list":
            return error(asked, -32601)
        known = {_cursor(number): number for number in range(len(self.pages))}
        cursor = body["params"].get("cursor")
        page = known[cursor] if cursor else 0
        value: dict[str, Any] = {"tools": list(self.pages[page])}
        if page + 1 < len(self.pages):
            value["nextCursor"] = _cursor(page + 1)
        return result(asked, value)


class Protected:
    """A server behind OAuth; every part of what it says of itself can be replaced."""

    def __init__(self, **said: Any) -> None:
        self.said = said
        self.origin = ""

    def __call__(self, asked: Asked) -> Told:
        documents = self.documents()
        if asked.path in documents:
            return Told(body=documents[asked.path])
        if asked.path != PATH:
            return Told(404)
        if asked.headers["Authorization"]:
            return self.said.get("to_a_token", Told(401))
        challenge = f'Bearer resource_metadata="{self.origin}/.well-known/oauth-protected-resource{PATH}", scope="a b"'
        return Told(401, headers={"WWW-Authenticate": self.said.get("challenge", challenge)})

    def documents(self) -> dict[str, dict[str, Any]]:
        issuer = f"{self.origin}/login"
        resource = {
            "resource": f"{self.origin}{PATH}",
            "authorization_servers": [issuer],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["tools:read"],
        }
        server = {
            "issuer": issuer,
            "code_challenge_methods_supported": ["S256"],
            "revocation_endpoint": f"{issuer}/revoke",
        }
        where = self.said.get("where", f"/.well-known/oauth-protected-resource{PATH}")
        metadata = self.said.get("metadata", "/.well-known/oauth-authorization-server/login")
        return {
            where: resource | self.said.get("resource", {}),
            metadata: server | self.said.get("server", {}),
        }


def sse_only(asked: Asked) -> Told:
    if asked.method != "GET":
        return Told(405)

    first = b"event: endpoint\ndata: /messages?session=1\n\n"
    return Told(body=_kept_open(first), headers={"Content-Type": "text/event-stream"})


def _kept_open(first: bytes) -> Iterator[bytes]:
    """A stream as servers keep it: it goes on, with a comment now and then, until whoever listens leaves."""
    yield first
    for _number in range(300):
        time.sleep(0.1)
        yield b": ping\n\n"


def on_a_stream_that_stays_open(told: Told) -> Told:
    """The same answer as the first event of a stream that does not end."""
    message = f"data: {json.dumps(told.body)}\n\n".encode()
    return Told(told.status, _kept_open(message), {**told.headers, "Content-Type": "text/event-stream"})


@contextmanager
def serving(answer: Answer, **options: Any) -> Iterator[Listener]:
    with http(answer, **options) as listener:
        if isinstance(answer, Protected):
            answer.origin = listener.url("")
        yield listener


@contextmanager
def behind_http(command: Sequence[str]) -> Iterator[str]:
    """A real stdio server, one message in and one out, behind HTTP; yields its URL."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
    )
    turn = threading.Lock()

    def answer(asked: Asked) -> Told:
        if asked.method != "POST":
            return Told(405)
        assert process.stdin is not None and process.stdout is not None
        with turn:
            process.stdin.write(asked.body.decode() + "\n")
            process.stdin.flush()
            if "id" not in asked.json:
                return Told(202)
            for line in process.stdout:
                if not line.startswith("{"):
                    continue
                message = json.loads(line)
                if message.get("id") == asked.json["id"] and "method" not in message:
                    return Told(body=line, headers={"Content-Type": "application/json"})
        return Told(500)

    try:
        with http(answer) as listener:
            yield listener.url(PATH)
    finally:
        process.kill()
        process.wait(10)
