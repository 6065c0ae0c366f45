"""Listings as servers make them, small and whole."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from typing import Any

from registry.catalog.models import Server
from registry.core import clock
from registry.core.actors import Actor
from registry.discovery import services
from registry.discovery.models import Snapshot, Watch
from registry.discovery.seen import Listing, Seen

PROBER = Actor.system("probes of tests")


def tool(
    name: str, *, description: str = "Searches the documents.", reads: bool | None = True, **more: Any
) -> dict[str, Any]:
    """A tool of a server that takes care: closed schema, annotations."""
    schema = {
        "type": "object",
        "properties": {"q": {"type": "string", "description": "What to look for."}},
        "required": ["q"],
        "additionalProperties": False,
    }
    made: dict[str, Any] = {"name": name, "description": description, "inputSchema": schema}
    if reads is not None:
        made["annotations"] = {"readOnlyHint": True} if reads else {"readOnlyHint": False, "destructiveHint": True}
    return made | more


def listing(*tools: dict[str, Any], instructions: str = "", **more: Any) -> Listing:
    return Listing(tools=deepcopy(list(tools)), instructions=instructions, **more)


def seen(*tools: dict[str, Any], instructions: str = "", version: str = "1.0.0", **more: Any) -> Seen:
    given: dict[str, Any] = {"outcome": Snapshot.Outcome.LISTED, "era": "2025-11-25", "transport": "streamable-http"}
    given["listing"] = listing(*tools, instructions=instructions)
    return Seen(**(given | {"server_info": {"name": "tests", "version": version}} | more))


def look(server: Server, *tools: dict[str, Any], **facts: Any) -> Snapshot:
    """One look by the prober at the server's first endpoint, each a minute after the one before."""
    about_it = ("actor", "identity", "channel", "endpoint", "taken_at", "run")
    told = {name: facts.pop(name) for name in about_it if name in facts}
    about: dict[str, Any] = {
        "actor": PROBER,
        "server": server,
        "endpoint": server.endpoints.filter(retired_at=None).first(),
        "channel": Snapshot.Channel.PROBE,
        "taken_at": clock.now(),
    }
    return services.record_snapshot(**(about | told), seen=seen(*tools, **facts))


def looks(server: Server, *tools: dict[str, Any], times: int = 2, **facts: Any) -> Snapshot:
    """The same again, so that it is believed."""
    for _ in range(times):
        last = look(server, *tools, **facts)
    return last


def watch_of(server: Server, **about: Any) -> Watch:
    return Watch.objects.get(server=server, **about)


def later(minutes: float) -> Any:
    return clock.at(clock.now() + timedelta(minutes=minutes))
