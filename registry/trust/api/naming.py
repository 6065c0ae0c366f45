"""Names around the ids of an answer, fetched once for all rows that are shown."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from registry.trust.queries import Questions
from registry.trust.queries.answers import Path, Person, ReachedServer, ReachedSystem, ReachingAgent, Ref, Sighting
from registry.trust.queries.naming import ENDS, named

HIDDEN_WAY = "through a server you may not see"


def number_by(numbers: Mapping[str, int], names: Iterable[str]) -> dict[str, int]:
    return {name: numbers.get(name, 0) for name in names}


class Names:
    """Collects what is to be named; the first name asked for fetches them all, in one statement per kind."""

    def __init__(self, questions: Questions, *refs: Ref, ends: bool = False) -> None:
        """`ends`: what relationships lead from and to is named as well."""
        self.questions, self._with_ends = questions, ends
        self._wanted: set[Ref] = set(refs)
        self._known: dict[Ref, dict[str, Any]] | None = None
        self._made: dict[Ref, dict[str, Any]] = {}

    def also(self, refs: Iterable[Ref]) -> None:
        assert self._known is None, "collect everything before the first name is asked for"
        self._wanted.update(refs)

    def also_of_paths(self, paths: Iterable[Path]) -> None:
        """What the steps of a path lead from and to."""
        for each in paths:
            for step in each.steps:
                self.also(ref for ref in (step.source, step.target) if ref)

    def also_of_ways(self, ways: Iterable[Path]) -> None:
        """The servers on the way, and what its first grant and its connection allow."""
        for each in ways:
            if not each.hidden:
                self._wanted.update(step.source for step in each.steps[1:] if step.source)
                self._wanted.update((step.kind, step.id) for step in (each.steps[0], each.steps[-1]) if step.id)

    def known(self, ref: Ref) -> dict[str, Any]:
        if self._known is None:
            self._known = named(self.questions.actor, self._wanted, ends=self._with_ends, as_of=self.questions.past)
        return self._known.get(ref, {})

    def of(self, kind: str, id: UUID | None, *fields: str) -> Any:
        """These facts of a thing; None for nothing, or for what may not be named."""
        facts = self.known((kind, id)) if id is not None else {}
        return {field: facts.get(field) for field in fields} if facts else None

    def _all(self, kind: str, id: UUID, *fields: str) -> dict[str, Any]:
        facts = self.known((kind, id))
        return {field: facts.get(field) for field in fields}

    def _once(self, kind: str, id: UUID, *fields: str) -> dict[str, Any]:
        """The same few servers and systems stand in most rows of a page."""
        made = self._made.get((kind, id))
        if made is None:
            made = self._made[kind, id] = self._all(kind, id, *fields)
        return made

    # --- Things ------------------------------------------------------------------------------------------

    def agent(self, id: UUID) -> dict[str, Any]:
        return self._all("agent", id, "id", "name", "spiffe_id", "client_id")

    def server(self, id: UUID) -> dict[str, Any]:
        return self._once("server", id, "id", "name", "title", "tier")

    def system(self, id: UUID) -> dict[str, Any]:
        return self._once("system", id, "id", "name", "data_class")

    def thing(self, ref: Ref | None) -> dict[str, Any] | None:
        """Any thing by kind, id and what it is called; relationships and secrets have no name but their own."""
        if ref is None:
            return None
        kind, id = ref
        facts = self.known(ref)
        return {"kind": kind, "id": id, "name": facts.get("name") or facts.get("reference")}

    def ends(self, kind: str, id: UUID) -> dict[str, Any]:
        """Both ends of a relationship."""
        facts = self.known((kind, id))
        return {
            end: self.thing((of, facts[f"{of}_id"])) if facts else None
            for end, of in zip(("source", "target"), ENDS[kind], strict=True)
        }

    def owner(self, id: UUID) -> dict[str, Any]:
        return self._all("agent", id, "owner")

    # --- Rows --------------------------------------------------------------------------------------------

    def reached_system(self, row: ReachedSystem) -> dict[str, Any]:
        return self.system(row.id) | self._all("system", row.id, "kind", "environment") | _how(row)

    def reached_server(self, row: ReachedServer) -> dict[str, Any]:
        return self.server(row.id) | self._all("server", row.id, "environment") | _how(row)

    def calling_agent(self, row: ReachingAgent) -> dict[str, Any]:
        return self.agent(row.id) | self._all("agent", row.id, "kind", "environment", "owner") | _how(row)

    def person(self, row: Person) -> dict[str, Any]:
        return self._all("person", row.id, "id", "name") | {
            "agents": row.agents,
            "servers": row.servers,
            "deputy_of": row.deputy_of,
            "systems": row.systems,
        }

    def tools_of(self, grants: Iterable[UUID]) -> dict[str, Any]:
        """What these grants allow together."""
        terms = [self.known(("grant", id)) for id in grants]
        return {
            "tools": sorted({tool for each in terms for tool in each.get("tools", ())}),
            "all_tools": any(each.get("all_tools") for each in terms),
        }

    def sighting(self, row: Sighting) -> dict[str, Any]:
        return {
            "source": self.thing(row.source),
            "target": self.thing(row.target),
            "calls": row.calls,
            "last_used": row.last_used,
        }

    # --- Paths -------------------------------------------------------------------------------------------

    def way(self, path: Path) -> dict[str, Any]:
        """A path from an agent to a system, told from the agent's side."""
        if path.hidden:
            return {"server": None, "access": path.access, "words": HIDDEN_WAY}
        *grants, connection = path.steps
        terms = self.known(("grant", grants[0].id))  # type: ignore[arg-type]
        reached = self.known(("connection", connection.id))  # type: ignore[arg-type]
        first, *via = [self.server(grant.target[1]) for grant in grants if grant.target]
        return {
            "server": first,
            "via": via,
            "hops": path.hops,
            "grant": grants[0].id,
            "grants": [grant.id for grant in grants[1:]],
            "connection": connection.id,
            "tools": terms.get("tools"),
            "all_tools": terms.get("all_tools"),
            "access": path.access,
            "scopes": reached.get("scopes"),
            "on_behalf_of": terms.get("on_behalf_of"),
            "behalf_detail": terms.get("behalf_detail"),
            "valid_until": path.valid_until,
            "certified": path.certified,
        }

    def path(self, path: Path) -> dict[str, Any]:
        """A path as its steps; what may not be named is null."""
        return {
            "hops": path.hops,
            "access": path.access,
            "data_class": path.data_class,
            "certified": path.certified,
            "steps": [
                {
                    "kind": step.kind,
                    "id": step.id,
                    "source": self.thing(step.source),
                    "target": self.thing(step.target),
                }
                for step in path.steps
            ],
            **({"words": HIDDEN_WAY} if path.hidden else {}),
        }


def ends_of(sightings: Iterable[Sighting]) -> list[Ref]:
    return [end for row in sightings for end in (row.source, row.target)]


def use_of(row: ReachedSystem | ReachedServer | ReachingAgent) -> dict[str, Any]:
    """What was seen in use of it, beside how it is reached."""
    return {"observed": asdict(row.observed) if row.observed else None}


def _how(row: ReachedSystem | ReachedServer | ReachingAgent) -> dict[str, Any]:
    data_class = {} if isinstance(row, ReachingAgent) else {"data_class": row.data_class}
    return data_class | {
        "access": row.access,
        "certified": row.certified,
        "direct": row.direct,
        "hops": row.hops,
    }
