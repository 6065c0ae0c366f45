"""The registry read API over 25,000 published versions, over HTTP from the web server of production: the first page,
pages at any depth of the walk, a search, a sync. And how long publishing them all takes."""

import http.client
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from bench.measure import fresh_database, parse, report

GOAL_MS = 50


@contextmanager
def web_server(port: int) -> Iterator[http.client.HTTPConnection]:
    """One worker of granian on the benchmark's database, and a connection that is kept open."""
    from urllib.parse import urlsplit, urlunsplit

    from django.conf import settings
    from django.db import connection

    parts = urlsplit(settings.DATABASE_URL)
    url = urlunsplit(parts._replace(path=f"/{connection.settings_dict['NAME']}"))
    environment = {
        **os.environ, "DATABASE_URL": url, "STEWARD_PROFILE": "embedded", "PUBLISH_ANONYMOUS": "true", "DEBUG": "0",
        "LOG_LEVEL": "ERROR",
    }  # fmt: skip
    command = [
        sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--blocking-threads", "1", "--no-log", "registry.wsgi:application",
    ]  # fmt: skip
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        for _ in range(300):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                client.request("GET", "/v0.1/servers?limit=1")
                if client.getresponse().read():
                    break
            except OSError:
                time.sleep(0.1)
        yield client
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def main(argv: list[str]) -> None:
    options = parse("publishing", argv, versions=25_000, asked=400, port=8399)
    rows: list[dict[str, Any]] = []
    with fresh_database():
        from bench.population import many_servers
        from registry.catalog.models import Server
        from registry.core import clock
        from registry.core.actors import Actor
        from registry.discovery import offering, services
        from registry.discovery.models import Publication

        many_servers(options.versions)
        Server.objects.update(certified_until=clock.now() + timedelta(days=90), release="1.0.0")
        by = Actor.system("bench")
        for what in ("publish_all", "sweep_nothing_to_do"):
            started = time.perf_counter()
            services.sweep_publications(actor=by)
            rows.append({"what": what, "s": round(time.perf_counter() - started, 2)})
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        since = (clock.now() - timedelta(days=1)).isoformat()
        names = list(Publication.objects.order_by("name").values_list("name", "release"))
        chosen = random.Random(5)

        def deep(query: str, **question: Any) -> Iterator[str]:
            while True:
                name, version = chosen.choice(names)
                cursor = offering.cursor_after(name, version, offering.Question(**question))
                yield f"/v0.1/servers?{query}&cursor={cursor}"

        def again(address: str) -> Iterator[str]:
            while True:
                yield address

        def single() -> Iterator[str]:
            while True:
                yield f"/v0.1/servers/{quote(chosen.choice(names)[0], safe='')}/versions/latest"

        last = offering.cursor_after(*names[-101], offering.Question())
        asked = {
            "first_page_of_100": again("/v0.1/servers?limit=100"),
            "any_depth_of_100": deep("limit=100"),
            "any_depth_of_50_latest": deep("limit=50", version="latest"),
            "last_page": again(f"/v0.1/servers?limit=100&cursor={last}"),
            "sync_any_depth_of_100": deep("limit=100", updated_since=since, include_deleted=True),
            "search_common": again("/v0.1/servers?limit=50&search=server-1&version=latest"),
            "search_rare": again("/v0.1/servers?limit=50&search=server-24999&version=latest"),
            "one_version": single(),
        }
        with web_server(options.port) as client:
            for what, addresses in asked.items():
                took, size = [], 0
                for number in range(options.asked + 5):
                    address = next(addresses)
                    before = time.perf_counter()
                    client.request("GET", address)
                    answer = client.getresponse()
                    body = answer.read()
                    if number >= 5:
                        took.append((time.perf_counter() - before) * 1000)
                    assert answer.status == 200, body[:300]
                    size = len(body)
                assert json.loads(body)
                took.sort()
                p95 = took[int(len(took) * 0.95)]
                rows.append({
                    "what": what, "p50_ms": round(statistics.median(took), 1), "p95_ms": round(p95, 1),
                    "max_ms": round(took[-1], 1), "n": len(took), "bytes": size,
                    "goal_p95_ms": GOAL_MS, "kept": p95 <= GOAL_MS,
                })  # fmt: skip
    report([{"bench": "publishing", **row, "versions": options.versions} for row in rows], write=not options.no_report)
