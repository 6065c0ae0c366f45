"""Who may reach what, in plain Python over objects: slow, obvious, and independent of the SQL it checks."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from registry.trust.models import Connection, Grant

ORDER = ["read", "write", "admin"]


class Reference:
    """One world of rows, seen by one viewer. `sees(thing)` is given; everything else follows from the rows."""

    def __init__(self, grants: Iterable[Grant], connections: Iterable[Connection], now: datetime, sees: Any) -> None:
        self.now, self.sees = now, sees
        self.grants = [
            grant
            for grant in grants
            if self._in_force(grant) and grant.server.lifecycle == "active" and grant.agent.standing == "active"
        ]
        self.connections = [
            connection
            for connection in connections
            if self._in_force(connection)
            and connection.server.lifecycle == "active"
            and connection.system.standing == "active"
        ]

    def _in_force(self, thing: Any) -> bool:
        if thing.status != "active" or thing.activated_at is None:
            return False
        return bool(thing.activated_at <= self.now < thing.valid_until)

    def _certified(self, *things: Any) -> bool:
        return all(thing.certified_until is not None and thing.certified_until > self.now for thing in things)

    def paths(self) -> list[tuple[Grant, Connection]]:
        return [
            (grant, connection)
            for grant in self.grants
            for connection in self.connections
            if grant.server_id == connection.server_id
        ]

    def _step(self, grant: Grant, connection: Connection) -> tuple[Any, ...]:
        """What a path shows: everything, or only its access when its server may not be named."""
        if not self.sees(grant.server):
            return (None, connection.access)
        return (
            str(grant.server_id),
            connection.access,
            tuple(self.tools(grant)),
            grant.all_tools,
            self._certified(grant, connection, grant.server),
        )

    @staticmethod
    def tools(grant: Grant) -> list[str]:
        if not grant.all_tools:
            return grant.tools
        return sorted(tool.name for tool in grant.server.tools.all() if tool.retired_at is None)

    def _through(self, paths: list[tuple[Grant, Connection]], end: str) -> tuple[dict[str, Any], int]:
        """The far ends of `paths` that may be named, with how they are reached, and how many may not be named."""
        by_end = defaultdict(list)
        for grant, connection in paths:
            thing = connection.system if end == "system" else grant.agent
            by_end[thing.pk].append((thing, grant, connection))
        named = {}
        for key, found in by_end.items():
            if self.sees(found[0][0]):
                named[str(key)] = {
                    "access": max((connection.access for _t, _g, connection in found), key=ORDER.index),
                    "certified": any(self._certified(g, c, g.server) for _t, g, c in found),
                    "through": sorted((self._step(g, c) for _t, g, c in found), key=repr),
                }
        return named, len(by_end) - len(named)

    def reach(self, agent: Any) -> tuple[dict[str, Any], int, set[str], int]:
        systems, hidden = self._through([path for path in self.paths() if path[0].agent_id == agent.pk], "system")
        servers = [grant.server for grant in self.grants if grant.agent_id == agent.pk]
        named = {str(server.pk) for server in servers if self.sees(server)}
        return systems, hidden, named, len(servers) - len(named)

    def access(self, system: Any) -> tuple[dict[str, Any], int]:
        return self._through([path for path in self.paths() if path[1].system_id == system.pk], "agent")

    def losses(self, cut: str, thing: Any) -> tuple[dict[str, Any], int]:
        """Per agent that loses something: systems it then misses, systems it keeps, how many unnamed ones it misses."""

        def is_cut(grant: Grant, connection: Connection | None) -> bool:
            if cut == "server":
                return bool(grant.server_id == thing.pk)
            return grant.pk == thing.pk if cut == "grant" else connection is not None and connection.pk == thing.pk

        concerned = {
            grant.agent.pk: grant.agent for grant in self.grants if cut != "connection" and is_cut(grant, None)
        }
        concerned |= {grant.agent.pk: grant.agent for grant, connection in self.paths() if is_cut(grant, connection)}
        named: dict[str, Any] = {}
        for key, agent in concerned.items():
            if not self.sees(agent):
                continue
            own = [path for path in self.paths() if path[0].agent_id == key]
            touched = {c.system.pk: c.system for g, c in own if is_cut(g, c)}
            kept = {c.system.pk for g, c in own if not is_cut(g, c)}
            lost = [system for pk, system in touched.items() if pk not in kept]
            named[str(key)] = (
                {str(system.pk) for system in lost if self.sees(system)},
                {str(pk) for pk, system in touched.items() if pk in kept and self.sees(system)},
                sum(not self.sees(system) for system in lost),
            )
        return named, len(concerned) - len(named)
