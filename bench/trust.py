"""Questions about a generated estate over HTTP with a token, beside SQL for the same question.

The web server is the real one with durable settings. The floor of a question is one statement over the tables that
gives the same counts and the same first rows, with the same limit of hops; what it still leaves out stands beside it.
For access it is the recursive query the goal speaks of.
"""

import http.client
import os
import random
import statistics
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from bench.measure import fresh_database, parse, report
from bench.workbench import _server

ASKED = 200
"""Different subjects per question, drawn at random."""
FLOORS = 40
"""Fewer for the floor: a recursive query takes its time."""
PATIENCE = 15
"""Seconds after which a floor is given up; it counts as that long."""

_CALLS = """
    calls AS NOT MATERIALIZED (
        SELECT g.agent_id, g.server_id FROM trust_grant g
        JOIN catalog_agent a ON a.id = g.agent_id AND a.standing = 'active'
        JOIN catalog_server s ON s.id = g.server_id AND s.lifecycle = 'active'
        WHERE g.status = 'active' AND g.activated_at <= now() AND g.valid_until > now()
    ),
    uses AS NOT MATERIALIZED (
        SELECT c.server_id, c.system_id, array_position('{read,write,admin}', c.access::text) AS access
        FROM trust_connection c
        JOIN catalog_server s ON s.id = c.server_id AND s.lifecycle = 'active'
        JOIN catalog_system y ON y.id = c.system_id AND y.standing = 'active'
        WHERE c.status = 'active' AND c.activated_at <= now() AND c.valid_until > now()
    )
"""
_ONWARDS = """
    SELECT calls.server_id, hop + 1 FROM reached
    JOIN catalog_agent own ON own.server_id = reached.server_id JOIN calls ON calls.agent_id = own.id
    WHERE hop < 5
"""
_BACK = """
    JOIN calls ON calls.server_id = ahead.server_id
    JOIN catalog_agent own ON own.id = calls.agent_id AND own.server_id IS NOT NULL
    WHERE hop < 5
"""
_REACH = f"""
    WITH RECURSIVE {_CALLS},
    reached(server_id, hop) AS (SELECT server_id, 1 FROM calls WHERE agent_id = %(agent)s UNION {_ONWARDS})
    SELECT system_id, y.data_class, max(access), min(hop) + 1, count(*) OVER (),
           (SELECT count(DISTINCT server_id) FROM reached)
    FROM reached JOIN uses USING (server_id) JOIN catalog_system y ON y.id = system_id GROUP BY 1, 2
    ORDER BY array_position('{{restricted,confidential,internal,public}}', y.data_class::text), 3 DESC, 1 LIMIT 50
"""  # noqa: S608 - our own words
_ACCESS = f"""
    WITH RECURSIVE {_CALLS}, ahead(server_id, hop) AS (
        SELECT server_id, 1 FROM uses WHERE system_id = %(system)s
        UNION SELECT own.server_id, hop + 1 FROM ahead {_BACK}
    )
    SELECT calls.agent_id, min(hop) + 1, count(*) OVER () FROM ahead JOIN calls USING (server_id)
    GROUP BY 1 ORDER BY 2, 1 LIMIT 50
"""  # noqa: S608 - our own words
_BLAST = f"""
    WITH RECURSIVE {_CALLS},
    ahead(server_id, hop) AS (SELECT %(server)s::uuid, 0 UNION SELECT own.server_id, hop + 1 FROM ahead {_BACK}),
    reached(server_id, hop) AS (SELECT %(server)s::uuid, 0 UNION {_ONWARDS}),
    agents AS (SELECT agent_id, min(hop) + 1 AS hops FROM ahead JOIN calls USING (server_id) GROUP BY 1),
    systems AS (SELECT system_id, max(access), min(hop) + 1 FROM reached JOIN uses USING (server_id) GROUP BY 1)
    SELECT (SELECT count(*) FROM agents), (SELECT count(*) FROM systems),
           (SELECT count(DISTINCT server_id) FROM reached), (SELECT count(*) FROM (
                SELECT owner_id FROM agents JOIN catalog_agent ON id = agent_id
                UNION SELECT owner_id FROM systems JOIN catalog_system ON id = system_id
                UNION SELECT unnest(ARRAY[owner_id, deputy_id]) FROM reached JOIN catalog_server ON id = server_id
            ) people),
           ARRAY(SELECT agent_id FROM agents ORDER BY hops, 1 LIMIT 50),
           ARRAY(SELECT system_id FROM systems ORDER BY 1 LIMIT 50)
"""  # noqa: S608 - our own words
_IMPACT = f"""
    WITH RECURSIVE {_CALLS},
    ahead(server_id, hop) AS (SELECT %(server)s::uuid, 0 UNION SELECT own.server_id, hop + 1 FROM ahead {_BACK}),
    reached(server_id, hop) AS (SELECT %(server)s::uuid, 0 UNION {_ONWARDS}),
    agents AS (SELECT DISTINCT agent_id FROM ahead JOIN calls USING (server_id)),
    behind AS (SELECT DISTINCT system_id FROM reached JOIN uses USING (server_id)),
    others(agent_id, server_id, hop) AS (
        SELECT agent_id, server_id, 1 FROM agents JOIN calls USING (agent_id) WHERE server_id <> %(server)s
        UNION SELECT others.agent_id, calls.server_id, hop + 1 FROM others
        JOIN catalog_agent own ON own.server_id = others.server_id JOIN calls ON calls.agent_id = own.id
        WHERE hop < 5 AND calls.server_id <> %(server)s
    ),
    kept AS (
        SELECT DISTINCT agent_id, system_id FROM others JOIN uses USING (server_id) JOIN behind USING (system_id)
    )
    SELECT agent_id, count(*) FILTER (WHERE kept.system_id IS NULL) AS loses, count(kept.system_id), count(*) OVER ()
    FROM agents CROSS JOIN behind LEFT JOIN kept USING (agent_id, system_id) GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 50
"""  # noqa: S608 - our own words
_PATHS = f"""
    WITH RECURSIVE {_CALLS}, path(server_id, servers, hop) AS (
        SELECT server_id, ARRAY[server_id], 1 FROM calls WHERE agent_id = %(agent)s
        UNION ALL SELECT calls.server_id, servers || calls.server_id, hop + 1 FROM path
        JOIN catalog_agent own ON own.server_id = path.server_id JOIN calls ON calls.agent_id = own.id
        WHERE hop < 5 AND calls.server_id <> ALL (servers)
    )
    SELECT servers FROM path JOIN uses USING (server_id) WHERE system_id = %(system)s ORDER BY hop LIMIT 20
"""  # noqa: S608 - our own words
_PAGE = """
    WITH page AS (
        (SELECT id, agent_id, server_id, NULL::uuid AS system_id FROM trust_grant ORDER BY id DESC LIMIT 50)
        UNION ALL (SELECT id, NULL, server_id, system_id FROM trust_connection ORDER BY id DESC LIMIT 50)
        ORDER BY id DESC LIMIT 50
    )
    SELECT page.*, a.name, s.name, t.name, y.name, g.*, c.* FROM page
    JOIN catalog_server s ON s.id = page.server_id LEFT JOIN accounts_team t ON t.id = s.team_id
    LEFT JOIN catalog_agent a ON a.id = agent_id LEFT JOIN catalog_system y ON y.id = system_id
    LEFT JOIN trust_grant g ON g.id = page.id LEFT JOIN trust_connection c ON c.id = page.id ORDER BY page.id DESC
"""


@dataclass(frozen=True)
class Question:
    """Addresses to ask, what to hold the answers against, and what the SQL beside them does not answer."""

    name: str
    urls: list[str]
    goal_p95: float | None
    sql: str
    given: list[dict[str, UUID]]
    leaves_out: str
    floor: list[float] = field(default_factory=list)


def main(argv: list[str]) -> None:
    options = parse(
        "trust", argv, agents=50_000, servers=10_000, systems=2_000, relationships=1_000_000, seed=1, asked=ASKED
    )
    if os.environ.get("BENCH_ESTATE"):
        # An estate that is there already, in the database of STEWARD_VAR: made once, measured often.
        import django

        django.setup()
        rows = _measured(options.asked)
    else:
        with fresh_database():
            from registry.trust.estate import Size, generate_estate

            wanted = {name: getattr(options, name) for name in ("agents", "servers", "systems", "relationships")}
            started = time.perf_counter()
            generate_estate(size=Size(**wanted), seed=options.seed)
            print(f"estate made in {time.perf_counter() - started:.0f} s", file=sys.stderr)
            rows = _measured(options.asked)
    report(rows, write=not options.no_report)


def _measured(asked: int) -> list[dict[str, Any]]:
    from registry.accounts.models import User
    from registry.accounts.services import create_token
    from registry.catalog.models import Agent, Server, System
    from registry.core.actors import Actor
    from registry.trust.models import Connection, Grant

    reader, _new = User.objects.get_or_create(
        email="bench@example.test", defaults={"name": "Bench", "roles": ["member", "auditor"]}
    )
    _, secret = create_token(actor=Actor.person(reader), user=reader, name="bench", scopes=["read"], days=1)
    size = {"grants": Grant.objects.count(), "connections": Connection.objects.count()}
    choose = random.Random(1)
    agents, servers, systems = (
        choose.sample(ids, min(asked, len(ids)))
        for ids in (
            list(model.objects.order_by("pk").values_list("pk", flat=True)) for model in (Agent, Server, System)
        )
    )
    pairs = list(zip(agents, (choose.choice(systems) for _ in agents), strict=True))
    api = "/api/v1/trust"
    of_agent, of_server, of_system = (
        [{kind: id} for id in ids] for kind, ids in (("agent", agents), ("server", servers), ("system", systems))
    )
    to_system = [{"agent": agent, "system": system} for agent, system in pairs]
    whose = "names, certification"
    questions = [
        Question("reach", [f"{api}/reach?agent={id}" for id in agents], 20, _REACH, of_agent, f"{whose}, ways"),
        Question(
            "access",
            [f"{api}/access?system={id}" for id in systems],
            None, _ACCESS, of_system, f"{whose}, ways, access, servers",
        ),
        Question("blast_radius", [f"{api}/blast-radius?server={id}" for id in servers], 20, _BLAST, of_server, whose),
        Question("impact", [f"{api}/impact?server={id}" for id in servers], 20, _IMPACT, of_server, "names, tools"),
        Question(
            "paths",
            [f"{api}/paths?from=agent:{agent}&to=system:{system}" for agent, system in pairs],
            50, _PATHS, to_system, whose,
        ),
        Question("relationships", [f"{api}/relationships?limit=50"] * asked, 30, _PAGE, [{}] * asked, "observed use"),
        Question(
            "explorer",
            [f"/trust/explore/?ask=around&of=server:{id}" for id in servers],
            300, _BLAST, of_server, "edges, groups, names, the drawing; it only counts what is around",
        ),
    ]  # fmt: skip
    measured: dict[str, list[float]] = {}
    with _server() as port:
        client = Client(port, secret, _session(reader))
        first = client.get(f"{api}/stats") / 1000
        for each in questions:
            for url in each.urls[:5]:
                client.get(url)
            measured[each.name] = [client.get(url) for url in each.urls]
            print(each.name, _figures(measured[each.name]), file=sys.stderr)
    rows: list[dict[str, Any]] = []
    for each in questions:
        for given in each.given[:FLOORS]:
            each.floor.append(_sql(each.sql, given))
            if sum(each.floor) > 4 * PATIENCE * 1000:
                break
        row: dict[str, Any] = {
            "bench": "trust",
            "what": each.name,
            **_figures(measured[each.name]),
            "sql_floor": _figures(each.floor),
        }
        for figure in ("p50", "p99"):
            row[f"times_faster_{figure}"] = round(row["sql_floor"][f"{figure}_ms"] / row[f"{figure}_ms"], 1)
        row |= {"floors": len(each.floor), "floor_leaves_out": each.leaves_out}
        rows.append(row | ({"goal_p95_ms": each.goal_p95} if each.goal_p95 else {"goal": "p50 x10, p99 x25"}) | size)
        print(rows[-1], file=sys.stderr)
    rows.append({"bench": "trust", "what": "first_answer_of_a_process", "seconds": round(first, 1), **size})
    return rows


def _figures(took: list[float]) -> dict[str, float]:
    took = sorted(took)
    return {
        "p50_ms": round(statistics.median(took), 2),
        "p95_ms": round(took[min(len(took) - 1, int(len(took) * 0.95))], 2),
        "p99_ms": round(took[min(len(took) - 1, int(len(took) * 0.99))], 2),
    }


def _sql(sql: str, given: dict[str, Any]) -> float:
    """Milliseconds, `PATIENCE` at most."""
    from django.db import OperationalError, connection

    with connection.cursor() as cursor:
        cursor.execute(f"SET statement_timeout = '{PATIENCE}s'")
        started = time.perf_counter()
        with suppress(OperationalError):
            cursor.execute(sql, given)
            cursor.fetchall()
        took = (time.perf_counter() - started) * 1000
        cursor.execute("RESET statement_timeout")
    return took


def _session(user: Any) -> str:
    from django.conf import settings
    from django.test import Client as Browser

    browser = Browser()
    browser.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return str(browser.cookies[settings.SESSION_COOKIE_NAME].value)


class Client:
    """One kept-alive connection; pages get the session, the API the token."""

    def __init__(self, port: int, secret: str, session: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        self._token, self._session = {"Authorization": f"Bearer {secret}"}, {"Cookie": f"sessionid={session}"}

    def get(self, url: str) -> float:
        headers = self._token if url.startswith("/api/") else self._session
        started = time.perf_counter()
        self._connection.request("GET", url, headers=headers)
        answer = self._connection.getresponse()
        body = answer.read()
        took = (time.perf_counter() - started) * 1000
        assert answer.status == 200, (url, answer.status, body[:300])
        return took
