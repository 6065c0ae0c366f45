"""Which revision of MCP a server speaks: `server/discover` first, then the handshake of before 2026, then HTTP+SSE."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django.utils.translation import gettext as _

from registry.core.outbound import Door, Limits, OutboundError, TimedOut, TooLarge
from registry.discovery.models import Snapshot
from registry.discovery.probing import protocol
from registry.discovery.probing.conversation import (
    CLIENT_CAPABILITIES,
    CLIENT_INFO,
    Conversation,
    Reply,
    events,
)

HTTP_WITH_SSE = "2024-11-05"


class Ended(Exception):
    """The look ends here, with an outcome other than a listing. `reply` is what was answered last."""

    def __init__(self, outcome: str, detail: str, *, era: str = "", transport: str = "", reply: Reply | None = None):
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail
        self.era = era
        self.transport = transport
        self.reply = reply


@dataclass(frozen=True)
class Greeting:
    """What a server said of itself when it was greeted."""

    era: str
    capabilities: Mapping[str, Any]
    instructions: str
    server_info: Mapping[str, str]


def greet(conversation: Conversation) -> Greeting:
    """Agree on a revision. Raises `Ended`, or the errors of `core.outbound`."""
    hint = _discover(conversation)
    if isinstance(hint, Greeting):
        return hint
    return _initialize(conversation, corrected=hint == "corrected")


def _discover(conversation: Conversation) -> Greeting | str:
    """A greeting, or why the handshake of before 2026 is tried next."""
    conversation.version = protocol.LATEST_MODERN_VERSION
    for attempt in range(2):
        try:
            reply = conversation.ask("server/discover")
        except TimedOut:
            return "silent"  # Servers of before 2026 have been seen to leave unknown methods without an answer.
        _stop_when_protected(reply)
        if (result := reply.result) is not None:
            mutual = _mutual(result.get("supportedVersions"))
            if not mutual:
                return "older"
            conversation.version = mutual
            meta = result.get("_meta")
            info = meta.get(protocol.SERVER_INFO_META_KEY) if isinstance(meta, dict) else None
            return Greeting(mutual, *_introduction(result, info))
        if reply.code != protocol.UNSUPPORTED_PROTOCOL_VERSION:
            return "unknown"
        mutual = _mutual(_supported(reply))
        if not mutual or attempt:
            return "corrected" if attempt else "older"
        conversation.version = mutual
    return "corrected"


def _initialize(conversation: Conversation, *, corrected: bool) -> Greeting:
    conversation.version = ""
    params = {
        "protocolVersion": protocol.LATEST_HANDSHAKE_VERSION,
        "capabilities": CLIENT_CAPABILITIES,
        "clientInfo": CLIENT_INFO,
    }
    reply = conversation.ask("initialize", params)
    _stop_when_protected(reply)
    result = reply.result
    if result is None:
        if reply.code == protocol.UNSUPPORTED_PROTOCOL_VERSION and not corrected and _mutual(_supported(reply)):
            again = _discover(conversation)  # It names a modern version after all; it may have been slow to start.
            if isinstance(again, Greeting):
                return again
        raise _no_handshake(conversation, reply)
    era = result.get("protocolVersion")
    if not isinstance(era, str) or era not in protocol.KNOWN_PROTOCOL_VERSIONS:
        raise Ended(
            Snapshot.Outcome.FAILED, _("It wants to speak a revision of MCP that is not known here."), reply=reply
        )
    conversation.version = era
    session = reply.headers.get("mcp-session-id", "")
    # Visible ASCII, as the protocol says; anything else could not be sent back.
    conversation.session = session if session.isascii() and session.isprintable() else ""
    conversation.notify("notifications/initialized")
    return Greeting(era, *_introduction(result, result.get("serverInfo")))


def _no_handshake(conversation: Conversation, reply: Reply) -> Ended:
    if reply.error is not None and reply.status < HTTPStatus.BAD_REQUEST:
        said = _("It answers the handshake with error %(code)s.") % {"code": reply.code}
        return Ended(Snapshot.Outcome.FAILED, said, reply=reply)
    if reply.status < HTTPStatus.INTERNAL_SERVER_ERROR and _speaks_sse(conversation.door, conversation.url):
        return Ended(
            Snapshot.Outcome.SSE_ONLY,
            _("It speaks HTTP with SSE of 2024, which is deprecated; its tools cannot be listed without a session."),
            era=HTTP_WITH_SSE,
            transport="sse",
            reply=reply,
        )
    if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        said = _("It answers %(status)s to every greeting.") % {"status": reply.status}
        return Ended(Snapshot.Outcome.FAILED, said, reply=reply)
    said = _("It answers %(status)s, and not as an MCP server does.") % {"status": reply.status}
    return Ended(Snapshot.Outcome.NOT_MCP, said, reply=reply)


def _speaks_sse(door: Door, url: str) -> bool:
    """Whether a GET opens a stream whose first event names the endpoint for messages."""
    limits = Limits(connect=5, read=3, total=5, size=64_000)
    try:
        with door.stream("GET", url, headers={"Accept": "text/event-stream"}, limits=limits) as stream:
            if not stream.headers.get("Content-Type", "").lower().startswith("text/event-stream"):
                return False
            for event, _data in events(stream.lines()):
                return event == "endpoint"
    except (TimedOut, TooLarge, OutboundError):
        return False
    return False


def _stop_when_protected(reply: Reply) -> None:
    if reply.asks_for_token:
        said = _("It answers %(status)s without a token.") % {"status": reply.status}
        raise Ended(Snapshot.Outcome.PROTECTED, said, transport="streamable-http", reply=reply)


def _supported(reply: Reply) -> Any:
    data = reply.error.get("data") if reply.error else None
    return data.get("supported") if isinstance(data, dict) else None


def _mutual(versions: Any) -> str:
    """The newest modern revision both sides speak, or ""."""
    offered = versions if isinstance(versions, list) else []
    return next((version for version in reversed(protocol.MODERN_PROTOCOL_VERSIONS) if version in offered), "")


def _introduction(result: Mapping[str, Any], info: Any) -> tuple[Mapping[str, Any], str, Mapping[str, str]]:
    """Capabilities, instructions, and what the server calls itself: words of a stranger, cut to size."""
    capabilities = result.get("capabilities")
    instructions = result.get("instructions")
    known = info if isinstance(info, dict) else {}
    named = {
        key: known[key][:200] for key in ("name", "title", "version", "websiteUrl") if isinstance(known.get(key), str)
    }
    return (
        capabilities if isinstance(capabilities, dict) else {},
        instructions if isinstance(instructions, str) else "",
        named,
    )


__all__ = ["Ended", "Greeting", "greet"]
