"""What a published entry says, in the registry's own words: the outcome of reading any of the formats."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from registry.catalog.services import EndpointFacts, ToolFacts
from registry.core.canonical import digest


@dataclass(frozen=True)
class Entry:
    """A server as its publisher describes it. Holds no secret value and no default: only what is declared.

    `notes` say what the reader changed or missed; they are told to people and are no part of the entry.
    """

    name: str
    title: str = ""
    description: str = ""
    release: str = ""
    website_url: str = ""
    repository_url: str = ""
    endpoints: list[EndpointFacts] = field(default_factory=list)
    tools: list[ToolFacts] = field(default_factory=list)
    generation: str = ""
    notes: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Keyword arguments of the catalog's acts, and what may be kept as JSON while a job waits."""
        facts = asdict(self)
        for told in ("generation", "notes"):
            del facts[told]
        return facts


@dataclass(frozen=True)
class Refusal:
    """An entry that cannot become a draft: `fields` maps each offending field to why, never to its value.

    `name` is empty unless it is a well-formed name that may be shown. `nothing_wrong` marks an entry that is valid
    but describes nothing this registry governs; it is skipped, not refused.
    """

    name: str
    fields: dict[str, list[str]]
    nothing_wrong: bool = False

    @property
    def reasons(self) -> list[str]:
        return [f"{path}: {message}" if path else message for path, said in self.fields.items() for message in said]


def facts_digest(facts: Mapping[str, Any]) -> str:
    """Identifies what an entry says; the same digest again means there is nothing to import."""
    return digest(dict(facts))


@dataclass(frozen=True)
class Configured:
    """One entry of a client's configuration: what it points at, and which secrets stand in it, without their values.

    `facts`: `transport`, `url`, `package` (`{"registry", "identifier", "version"}`), `via`, `also` (other addresses of
    the same server), `inputs` (`InputFacts`), `references` (`{"name", "placed_in", "kind", "reference", "secret"}`:
    where a value comes from), `enabled`, `tools` (`{"only", "without", "without_asking"}`).
    `secrets`: `{"path", "looks", "redaction"}`, the path being a JSON pointer.
    """

    client: str
    place: str
    scope: str
    entry: str
    canonical_uri: str
    label: str
    identified: bool
    facts: dict[str, Any]
    secrets: list[dict[str, str]]

    @property
    def name(self) -> str:
        return self.entry

    def sighting(self) -> dict[str, Any]:
        """What a sighting is recorded from, as JSON."""
        return asdict(self)


TELLING = ("client", "place", "scope", "entry", "canonical_uri", "facts", "secrets")
"""What makes a sighting the same sighting, together with who told it."""


def sighting_digest(told_by: UUID | None, sighting: Mapping[str, Any]) -> str:
    """The same digest again: the same person tells the same thing of the same place."""
    return digest({"by": str(told_by or ""), **{name: sighting[name] for name in TELLING}})
