"""What gateways counted of each relationship: most are used, some never were, and one is used without a grant."""

from datetime import date, timedelta
from typing import TYPE_CHECKING

from registry.core import clock
from registry.core.actors import Actor
from registry.trust.models import Connection, Grant
from registry.trust.services import Observed, record_observations

if TYPE_CHECKING:
    from registry.portal.demo.story import Story

GATEWAY = Actor.system("gateway logs of the demo")
EVERY, FIRST = 28, 140
"""Days of a period, and how many days ago the first one begins."""
NEVER_USED = {("Night backfill", "keboola"), ("Filings reader", "octagon"), ("Queue doctor", "redis")}
STOPPED = {("Leaver sweep", "okta"): 112, ("Search quality", "contentful"): 112}
"""Used until that many days ago."""
NOT_GRANTED = (("Training finder", "glean", 14), ("Chat on the website", "hubspot", 3))


class Used:
    """Plans what is observed into the timeline of a story."""

    def __init__(self, story: "Story") -> None:
        self._story = story

    def plan(self) -> None:
        for day in range(FIRST, 0, -EVERY):
            self._story.timeline.plan(max(day - EVERY, 0) + 0.03, self.count, day)

    def count(self, day: int) -> None:
        begun = self._story.timeline.instant(day)
        rows = []
        behind: dict[object, object] = {}
        for connection in Connection.objects.active().order_by("-access", "pk"):
            # Of several systems behind a server the gateway names one; the others show no use.
            behind.setdefault(connection.server_id, connection.system_id)
        for grant in Grant.objects.active().select_related("agent", "server"):
            pair = (grant.agent.name, self._key(grant.server_id))
            if pair in NEVER_USED or day <= STOPPED.get(pair, 0) or grant.agent.name == "Tool gateway":
                continue
            calls = 40 + sum("".join(pair).encode()) * 7 % 900
            rows.append(self._row(grant.agent_id, grant.server_id, begun.date(), calls, behind.get(grant.server_id)))
        if day == EVERY:
            for name, key, calls in NOT_GRANTED:
                agent, server = self._story.agents[name], self._story.servers[key]
                rows.append(self._row(agent.pk, server.pk, begun.date(), calls, None))
        record_observations(actor=GATEWAY, rows=rows)

    def _key(self, server_id: object) -> str:
        return next(key for key, server in self._story.servers.items() if server.pk == server_id)

    def _row(self, agent: object, server: object, period: date, calls: int, system: object) -> Observed:
        last = clock.now() - timedelta(minutes=calls)
        return Observed(
            agent_id=agent,  # type: ignore[arg-type]
            server_id=server,  # type: ignore[arg-type]
            system_id=system,  # type: ignore[arg-type]
            period=period,
            first_used=last - timedelta(days=20),
            last_used=last,
            calls=calls,
            errors=calls // 97,
        )
