"""One look at a server over stdio: start it, ask what it lists, end it. Only ever on an operator's machine.

The SDK's transport starts and ends the process; what it hands over is the raw result of each message, which is what
digests are made of. Time zone and locale are pinned, because they leak into descriptions; hash seeds are not, because
a server whose answer depends on one has to be found out.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

import anyio
import mcp_types
import orjson
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.message import SessionMessage

from registry.discovery.definitions import MAX_BYTES, MAX_TOOLS
from registry.discovery.models import Snapshot
from registry.discovery.seen import Listing, Seen

Outcome = Snapshot.Outcome
LIMIT = 60.0
"""Seconds for everything: the first start of a package takes up to ten, one vendor's server hangs for a minute."""
DISCOVER_LIMIT = 20.0
"""Seconds to start up and to think about a method it may never have heard of: a first start takes six to nine, on a
busy machine more."""
MAX_PAGES = 50
MODERN, LEGACY = "2026-07-28", "2025-11-25"
CLIENT = {"name": "steward-registry", "version": "1"}
CAPABILITIES: Mapping[str, Any] = {}
"""Always the same, because lists depend on it."""
PINNED = {"TZ": "UTC", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}
PASSED_ON = ("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE",
             "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")  # fmt: skip
METHOD_NOT_FOUND, UNSUPPORTED_VERSION = -32601, -32022


class Ended(Exception):
    """The server closed its output before it answered."""


class Answered(Exception):
    """A JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Any) -> None:
        self.code, self.data = code, data
        super().__init__(f"{code}: {message}"[:300])


class TooMuch(Exception):
    """It goes on and on."""


class NotMcp(Exception):
    """It answers something else than the protocol asks for."""


def look_at(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    limit: float = LIMIT,
    errlog: TextIO | None = None,
) -> Seen:
    """Start `command` and ask it; never raises for what the server does. What it writes to stderr goes to `errlog`."""
    started = time.monotonic()
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    parameters = StdioServerParameters(
        command=command[0], args=list(command[1:]), env={**passed_on, **PINNED, **(environment or {})}
    )
    seen = _looked(parameters, limit, errlog)
    return Seen(**{**vars(seen), "milliseconds": round((time.monotonic() - started) * 1000)})


def _looked(parameters: StdioServerParameters, limit: float, errlog: TextIO | None) -> Seen:
    with open(os.devnull, "w") as nowhere:
        try:
            return anyio.run(_within, parameters, limit, errlog or nowhere)
        except Exception as error:
            return _failed(next(flattened(error)), limit)


def flattened(error: BaseException) -> Iterator[BaseException]:
    """What really went wrong: task groups wrap errors in groups of groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from flattened(inner)
    else:
        yield error


def _failed(error: BaseException, limit: float) -> Seen:
    match error:
        case TimeoutError():
            return _seen(Outcome.TIMED_OUT, f"No answer within {limit:g} seconds.")
        case Ended():
            return _seen(Outcome.FAILED, "It ended before it answered.")
        case Answered():
            return _seen(Outcome.FAILED, f"It answered with an error, {error}")
        case TooMuch():
            return _seen(Outcome.TOO_LARGE, str(error))
        case NotMcp():
            return _seen(Outcome.NOT_MCP, str(error))
        case FileNotFoundError() | PermissionError():
            return _seen(Outcome.UNREACHABLE, "This command cannot be started here.")
    return _seen(Outcome.FAILED, f"{type(error).__name__} while talking to it.")


def _seen(outcome: str, detail: str) -> Seen:
    return Seen(outcome=outcome, detail=detail, transport="stdio", capabilities=CAPABILITIES)


async def _within(parameters: StdioServerParameters, limit: float, errlog: TextIO) -> Seen:
    with anyio.fail_after(limit):
        try:
            return await _look(parameters, errlog, modern_first=True)
        except* (Ended, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        # Some servers of earlier revisions end when their first message is none they know.
        return await _look(parameters, errlog, modern_first=False)


async def _look(parameters: StdioServerParameters, errlog: TextIO, *, modern_first: bool) -> Seen:
    async with stdio_client(parameters, errlog=errlog) as (read, write):
        talk = _Talk(read, write)
        era, told = (await _discover(talk)) if modern_first else ("", {})
        if not era:
            era, told = await _initialize(talk)
        talk.era = era
        offered = told.get("capabilities")
        offered = offered if isinstance(offered, Mapping) else {}
        # A server may forget to say that it has tools; what it does not offer otherwise is not asked for.
        listing = Listing(
            tools=await talk.everything("tools/list", "tools"),
            instructions=str(told.get("instructions") or ""),
            prompts=await talk.everything("prompts/list", "prompts") if "prompts" in offered else (),
            resource_templates=await talk.everything("resources/templates/list", "resourceTemplates")
            if "resources" in offered
            else (),
        )
        return Seen(
            outcome=Outcome.LISTED,
            era=era,
            transport="stdio",
            listing=listing,
            server_info=_server_info(told),
            capabilities=CAPABILITIES,
            pages=talk.pages,
            size=talk.size,
        )


async def _discover(talk: "_Talk", *, within: float | None = None) -> tuple[str, Mapping[str, Any]]:
    """The newest revision both speak, and what the server says of itself; empty when it knows no `server/discover`."""
    talk.era = MODERN
    try:
        with anyio.fail_after(DISCOVER_LIMIT if within is None else within):
            told = await talk.ask("server/discover")
    except TimeoutError:
        return "", {}
    except Answered as error:
        known = error.data.get("supported") if isinstance(error.data, Mapping) else None
        if (
            error.code != UNSUPPORTED_VERSION
            or not isinstance(known, list)
            or max(map(str, known), default="") <= LEGACY
        ):
            return "", {}
        talk.era = max(map(str, known))
        return talk.era, await talk.ask("server/discover")
    supported = told.get("supportedVersions")
    if isinstance(supported, list) and supported and MODERN not in supported:
        newest = max(map(str, supported))
        return (newest, told) if newest > LEGACY else ("", {})
    return MODERN, told


async def _initialize(talk: "_Talk") -> tuple[str, Mapping[str, Any]]:
    talk.era = ""
    try:
        told = await talk.ask(
            "initialize", {"protocolVersion": LEGACY, "capabilities": dict(CAPABILITIES), "clientInfo": CLIENT}
        )
    except Answered as error:
        if error.code not in (UNSUPPORTED_VERSION, METHOD_NOT_FOUND):
            raise
        # It speaks only what came after, and was still starting when it was asked for that.
        era, told = await _discover(talk, within=LIMIT)
        if not era:
            raise
        return era, told
    version = told.get("protocolVersion")
    if not isinstance(version, str):
        raise NotMcp("It answers, but names no protocol version.")
    await talk.tell("notifications/initialized")
    return version[:12], told


def _server_info(told: Mapping[str, Any]) -> dict[str, Any]:
    """Name, title and version as it reports itself."""
    meta = told.get("_meta")
    modern = meta.get("io.modelcontextprotocol/serverInfo") if isinstance(meta, Mapping) else None
    info = told.get("serverInfo") or modern
    if not isinstance(info, Mapping):
        return {}
    return {key: info[key][:200] for key in ("name", "title", "version") if isinstance(info.get(key), str)}


@dataclass
class _Talk:
    """Questions one after the other. `era` is set when each message has to say which revision it speaks."""

    read: Any
    write: Any
    era: str = ""
    pages: int = 0
    size: int = 0
    _number: int = field(default=0)

    async def ask(self, method: str, params: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        self._number += 1
        number = self._number
        given = dict(params or {})
        if self.era > LEGACY:
            given["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": self.era,
                "io.modelcontextprotocol/clientInfo": CLIENT,
                "io.modelcontextprotocol/clientCapabilities": dict(CAPABILITIES),
            }
        await self._send(mcp_types.JSONRPCRequest(jsonrpc="2.0", id=number, method=method, params=given))
        async for received in self.read:
            # What is no message is noise on stdout, which servers make.
            message = getattr(received, "message", None)
            if isinstance(message, mcp_types.JSONRPCRequest):
                await self._answer(message)
            elif isinstance(message, mcp_types.JSONRPCError) and message.id in (number, None):
                raise Answered(message.error.code, message.error.message, message.error.data)
            elif isinstance(message, mcp_types.JSONRPCResponse) and message.id == number:
                self.size += len(orjson.dumps(message.result))
                if self.size > MAX_BYTES:
                    raise TooMuch(f"It said more than {MAX_BYTES:,} bytes.")
                return message.result
        raise Ended

    async def tell(self, method: str) -> None:
        await self._send(mcp_types.JSONRPCNotification(jsonrpc="2.0", method=method))

    async def everything(self, method: str, key: str) -> list[Mapping[str, Any]]:
        """Every page of a list, joined. A server that does not know the method lists nothing."""
        rows: list[Mapping[str, Any]] = []
        cursors: set[str] = set()
        cursor: Any = None
        while True:
            try:
                page = await self.ask(method, {"cursor": cursor} if cursor else {})
            except Answered as error:
                if error.code == METHOD_NOT_FOUND and not cursor:
                    return []
                raise
            self.pages += 1
            listed = page.get(key)
            if not isinstance(listed, list) or not all(isinstance(row, Mapping) for row in listed):
                raise NotMcp(f"Its answer to {method} holds no list of {key}.")
            rows += listed
            cursor = page.get("nextCursor")
            if not cursor:
                return rows
            if str(cursor) in cursors:
                raise NotMcp(f"Its pages of {key} go round in a circle.")
            cursors.add(str(cursor))
            if len(cursors) >= MAX_PAGES or len(rows) > MAX_TOOLS:
                raise TooMuch(f"It lists more than {MAX_PAGES} pages or {MAX_TOOLS} entries of {key}.")

    async def _answer(self, asked: mcp_types.JSONRPCRequest) -> None:
        """A ping is answered; anything else was not offered."""
        if asked.method == "ping":
            await self._send(mcp_types.JSONRPCResponse(jsonrpc="2.0", id=asked.id, result={}))
        else:
            refused = mcp_types.ErrorData(code=METHOD_NOT_FOUND, message="Not offered by this client.")
            await self._send(mcp_types.JSONRPCError(jsonrpc="2.0", id=asked.id, error=refused))

    async def _send(self, message: Any) -> None:
        await self.write.send(SessionMessage(message))
