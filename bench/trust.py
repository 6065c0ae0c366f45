"""Questions about a generated estate over HTTP with a token, beside the SQL alone for the same question.

The web server is the real one with durable settings. The floor of a question is one statement that counts what the
answer counts, with the same limit of hops; for access it is the recursive query the goal speaks of.
"""

import http.client
import os
import random
import statistics
import sys
import time
from typing import Any
from uuid import UUID

from bench.measure import fresh_database, parse, report
from bench.workbench import _server

ASKED = 200
"""Different subjects per question, drawn at random."""
FLOORS = 15
"""Fewer for the floor: a recursive query takes its time."""

_CALLS = """
    calls AS NOT MATERIALIZED (
        SELECT g.agent_id, g.server_id FROM trust_grant g
        JOIN catalog_agent a ON a.id = g.agent_id AND a.standing = 'active'
        JOIN catalog_server s ON s.id = g.server_id AND s.lifecycle = 'active'
        WHERE g.status = 'active' AND g.activated_at <= now() AND g.valid_until > now()
    ),
    uses AS NOT MATERIALIZED (
        SELECT c.server_id, c.system_id FROM trust_connection c
        JOIN catalog_server s ON s.id = c.server_id AND s.lifecycle = 'active'
        JOIN catalog_system y ON y.id = c.system_id AND y.standing = 'active'
        WHERE c.status = 'active' AND c.activated_at <= now() AND c.valid_until > now()
    )
"""
_DOWN = f"""
    WITH RECURSIVE {_CALLS}, reached(server_id, hop) AS (
        SELECT server_id, 1 FROM calls WHERE agent_id = %s
        UNION
        SELECT calls.server_id, hop + 1 FROM reached
        JOIN catalog_agent own ON own.server_id = reached.server_id JOIN calls ON calls.agent_id = own.id
        WHERE hop < 5
    )
    SELECT count(DISTINCT uses.system_id) FROM reached JOIN uses USING (server_id)
"""  # noqa: S608 - our own words
_UP = f"""
    WITH RECURSIVE {_CALLS}, ahead(server_id, hop) AS (
        SELECT server_id, 1 FROM uses WHERE system_id = %s
        UNION
        SELECT own.server_id, hop + 1 FROM ahead
        JOIN calls ON calls.server_id = ahead.server_id
        JOIN catalog_agent own ON own.id = calls.agent_id AND own.server_id IS NOT NULL
        WHERE hop < 5
    )
    SELECT calls.agent_id, min(hop) + 1 FROM ahead JOIN calls USING (server_id) GROUP BY 1 ORDER BY 2, 1 LIMIT 50
"""  # noqa: S608 - our own words
_BLAST = f"""
    WITH RECURSIVE {_CALLS}, ahead(server_id, hop) AS (
        SELECT %s::uuid, 0
        UNION
        SELECT own.server_id, hop + 1 FROM ahead
        JOIN calls ON calls.server_id = ahead.server_id
        JOIN catalog_agent own ON own.id = calls.agent_id AND own.server_id IS NOT NULL
        WHERE hop < 5
    )
    SELECT count(DISTINCT calls.agent_id) FROM ahead JOIN calls USING (server_id)
"""  # noqa: S608 - our own words
_PAGE = "SELECT * FROM trust_grant ORDER BY id DESC LIMIT 50"


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
    questions: list[tuple[str, list[str], float | None, str, list[UUID]]] = [
        ("reach", [f"{api}/reach?agent={id}" for id in agents], 20, _DOWN, agents),
        ("access", [f"{api}/access?system={id}" for id in systems], None, _UP, systems),
        ("blast_radius", [f"{api}/blast-radius?server={id}" for id in servers], 20, _BLAST, servers),
        ("impact", [f"{api}/impact?server={id}" for id in servers], 20, _BLAST, servers),
        ("paths", [f"{api}/paths?from=agent:{agent}&to=system:{system}" for agent, system in pairs], 50, _DOWN, agents),
        ("relationships", [f"{api}/relationships?limit=50"] * asked, 30, _PAGE, []),
        ("explorer", [f"/trust/explore/?ask=around&of=server:{id}" for id in servers], 300, _BLAST, servers),
    ]
    measured: dict[str, list[float]] = {}
    with _server() as port:
        client = Client(port, secret, _session(reader))
        first = client.get(f"{api}/stats") / 1000
        for name, urls, *_rest in questions:
            for url in urls[:5]:
                client.get(url)
            measured[name] = [client.get(url) for url in urls]
            print(name, _figures(measured[name]), file=sys.stderr)
    rows: list[dict[str, Any]] = []
    for name, _urls, goal, sql, subjects in questions:
        floor = [_sql(sql, [id]) for id in subjects[:FLOORS]] or [_sql(sql, []) for _turn in range(FLOORS)]
        row = {"bench": "trust", "what": name, **_figures(measured[name]), "sql_floor": _figures(floor)}
        for figure in ("p50", "p99"):
            row[f"times_faster_{figure}"] = round(row["sql_floor"][f"{figure}_ms"] / row[f"{figure}_ms"], 1)
        rows.append(row | ({"goal_p95_ms": goal} if goal else {"goal": "p50 x10, p99 x25"}) | size)
    rows.append({"bench": "trust", "what": "first_answer_of_a_process", "seconds": round(first, 1), **size})
    return rows


def _figures(took: list[float]) -> dict[str, float]:
    took = sorted(took)
    return {
        "p50_ms": round(statistics.median(took), 2),
        "p95_ms": round(took[min(len(took) - 1, int(len(took) * 0.95))], 2),
        "p99_ms": round(took[min(len(took) - 1, int(len(took) * 0.99))], 2),
    }


def _sql(sql: str, params: list[Any]) -> float:
    from django.db import connection

    started = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        cursor.fetchall()
    return (time.perf_counter() - started) * 1000


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
