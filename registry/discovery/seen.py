"""What one look at a server brought back, whoever looked: the shape that probes, operators and gateways hand in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Listing:
    """What a server lists of itself: raw, as its messages said it, with every page joined."""

    tools: Sequence[Mapping[str, Any]] = ()
    instructions: str = ""
    prompts: Sequence[Mapping[str, Any]] = ()
    resource_templates: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Seen:
    """One look. `outcome` is a `Snapshot.Outcome`; `listing` is there exactly when it is LISTED.

    `posture`: `[{"check", "outcome": "pass|warn|fail|unknown", "detail"}]`. `size` in bytes as received.
    """

    outcome: str
    detail: str = ""
    era: str = ""
    transport: str = ""
    listing: Listing | None = None
    server_info: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    posture: Sequence[Mapping[str, str]] = ()
    pages: int = 0
    size: int = 0
    milliseconds: int = 0
