"""The reviewer's workbench over HTTP in a campaign of 100,000 items: how long an item's page and a decision take.

The web server runs in a process of its own, as in production; the clock runs at the client, around the whole answer.
"""

import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

from bench.measure import fresh_database, parse, report

REVIEWERS = 20
PAGES = 60


def main(argv: list[str]) -> None:
    options = parse("workbench", argv, items=100_000)
    with fresh_database():
        campaign, reviewer, staged = _stage(options.items)
        session = _session(reviewer)
        with _server() as port:
            client = Browser(port, session)
            rows = list(_measure(client, campaign, reviewer))
    for row in rows:
        row |= {"items": options.items, "staged_s": staged}
    report(rows, write=not options.no_report)


def _stage(items: int) -> tuple[Any, Any, float]:
    """An active campaign of about this many servers, grants, connections and agents, shared by twenty reviewers."""
    from django.db import connection

    from bench.estate import build
    from registry.accounts.models import User
    from registry.core.actors import Actor
    from registry.reviews import services as reviews

    # Two connections and seven grants per server: every kind is there, and a server's group is worth looking at.
    build(servers=items // 10, grants=items * 7 // 10, reviewers=REVIEWERS)
    people = list(User.objects.filter(roles__contains=["reviewer"]).order_by("pk"))
    manager = User.objects.create(email="manager@example.test", name="Manager", roles=["campaign_manager"])
    actor = Actor.person(manager)
    template = reviews.create_template(
        actor=actor,
        name="Everything",
        kinds=["server", "grant", "connection"],
        cadence_days=90,
        risk_analysis="Measured, not risked.",
        stages=[{"reviewers": people, "duration_days": 30}],
    )
    started = time.perf_counter()
    campaign = reviews.launch_campaign(actor=actor, template=template)
    reviews.generate_items(campaign_id=campaign.pk)
    staged = round(time.perf_counter() - started, 1)
    campaign.refresh_from_db()
    if campaign.state != "active":
        sys.exit(f"The campaign did not start: {campaign.state}, {campaign.state_reason}")
    with connection.cursor() as cursor:
        # As autovacuum does within a minute of a launch.
        cursor.execute("VACUUM ANALYZE")
    return campaign, people[-1], staged


def _session(user: Any) -> str:
    from django.conf import settings
    from django.test import Client

    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client.cookies[settings.SESSION_COOKIE_NAME].value


@contextmanager
def _server() -> Iterator[int]:
    """The web server on the benchmark's database, one worker with one thread."""
    from django.conf import settings
    from django.db import connection

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    parts = urlsplit(settings.DATABASE_URL)
    environment = {
        **os.environ,
        "STEWARD_PROFILE": "embedded",
        "DATABASE_URL": urlunsplit(parts._replace(path=f"/{connection.settings_dict['NAME']}")),
        "SECRET_KEY": settings.SECRET_KEY,
        "LOG_LEVEL": "WARNING",
    }
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
    command += [
        "--workers",
        "1",
        "--blocking-threads",
        "1",
        "--no-ws",
        "--log-level",
        "warning",
        "registry.wsgi:application",
    ]
    process = subprocess.Popen(command, env=environment)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(20)


class Browser:
    """One connection that is kept open, signed in, as a person's browser is."""

    def __init__(self, port: int, session: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.cookies = {"sessionid": session}

    def ask(self, method: str, url: str, data: list[tuple[str, str]] | None = None) -> tuple[int, str, str, float]:
        """Status, address to go to, text, milliseconds."""
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        body = urlencode(data) if data is not None else None
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        started = time.perf_counter()
        self.connection.request(method, url.partition("#")[0], body=body, headers=headers)
        answer = self.connection.getresponse()
        text = answer.read().decode()
        took = (time.perf_counter() - started) * 1000
        if found := re.match(r"csrftoken=([^;]+)", answer.headers.get("Set-Cookie", "")):
            self.cookies["csrftoken"] = found[1]
        return answer.status, answer.headers.get("Location", ""), text, took


def _measure(client: Browser, campaign: Any, reviewer: Any) -> Iterator[dict[str, Any]]:
    from django.urls import reverse

    bench = reverse("reviews:workbench", args=[campaign.pk])
    held = campaign.items.filter(work_items__reviewer=reviewer).count()
    yield {"what": "start", **_many(lambda: client.ask("GET", bench), 302, 20), "held": held}
    for by in ("server", "system", "team", "flat"):
        _status, url, *_ = client.ask("GET", f"{bench}?by={by}")
        text = client.ask("GET", url)[2]
        row = {"what": f"page_by_{by}", **_walk(client, url), "bytes": len(text)}
        yield row
    _status, url, *_ = client.ask("GET", f"{bench}?by=server")
    yield {"what": "page_searched", **_walk(client, f"{url.partition('#')[0]}?q=server-00777")}
    yield {"what": "decision", **_decide(client, url, PAGES)}
    # The same with half of the share decided.
    _half(campaign, reviewer)
    _status, url, *_ = client.ask("GET", bench)
    yield {"what": "page_half_decided", **_walk(client, url)}
    yield {"what": "decision_half_decided", **_decide(client, url, PAGES)}
    yield {"what": "inbox", **_many(lambda: client.ask("GET", reverse("reviews:inbox")), 200, 30)}


def _many(call: Callable[[], tuple[int, str, str, float]], status: int, times: int) -> dict[str, float]:
    took = []
    for _ in range(times + 3):
        answer = call()
        assert answer[0] == status, answer[2][:500]
        took.append(answer[3])
    return _figures(took[3:])


def _walk(client: Browser, url: str) -> dict[str, float]:
    """Item after item as `j` does; the first few warm up."""
    took = []
    for _ in range(PAGES + 3):
        status, _to, text, ms = client.ask("GET", url)
        assert status == 200, text[:500]
        took.append(ms)
        following = re.search(r'href="([^"]+)" data-keys="j"', text)
        if following is None:
            break
        url = following[1].replace("&amp;", "&")
    return _figures(took[3:] or took)


def _decide(client: Browser, url: str, times: int) -> dict[str, float]:
    """Look at an item (not measured), answer it (measured), go where the answer leads."""
    took = []
    for _ in range(times + 3):
        text = client.ask("GET", url)[2]
        # What is critical is kept with its evidence opened only.
        evidence = re.search(r'href="([^"]*evidence=all[^"]*)"', text)
        assert evidence is not None
        client.ask("GET", urljoin(url, evidence[1].replace("&amp;", "&")))
        form = text[text.index('id="decision"') :].partition("</form>")[0]
        fields = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form)
        data = [(name, value.replace("&quot;", '"')) for name, value in fields]
        action = re.search(r'id="decision" method="post" action="([^"]+)"', text)
        assert action is not None
        data += [("value", "certify"), ("reason", "Looked at everything there is.")]
        status, to, answer, ms = client.ask("POST", action[1], data)
        assert status == 302, answer[:2000]
        took.append(ms)
        if to.partition("#")[0] == url.partition("#")[0]:
            # The rules saw it differently: the second answer goes on.
            continue
        url = to
    return _figures(took[3:])


def _half(campaign: Any, reviewer: Any) -> None:
    """Half of the reviewer's share answered, by plain SQL: a benchmark measures reading it, not deciding it."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH half AS (
                SELECT w.id, i.evidence_hash FROM reviews_workitem w JOIN reviews_item i ON i.id = w.item_id
                WHERE i.campaign_id = %(campaign)s AND w.reviewer_id = %(me)s AND w.state = 'open'
                ORDER BY w.id LIMIT (SELECT count(*) / 2 FROM reviews_workitem WHERE reviewer_id = %(me)s)
            ), answered AS (
                UPDATE reviews_workitem SET state = 'responded' WHERE id IN (SELECT id FROM half)
            )
            INSERT INTO reviews_decision (id, created_at, updated_at, version, work_item_id, value, kept, reason,
                                          evidence_hash, decided_at, decided_ms, first_value, recommended)
            SELECT gen_random_uuid(), now(), now(), 1, id, 'certify', '{}', 'Seen.', evidence_hash, now(), 4000, '', ''
            FROM half
            """,
            {"campaign": campaign.pk, "me": reviewer.pk},
        )
        cursor.execute("ANALYZE reviews_decision, reviews_workitem")


def _figures(took: list[float]) -> dict[str, float]:
    took = sorted(took)
    return {
        "bench": "workbench",
        "p50_ms": round(took[len(took) // 2], 1),
        "p95_ms": round(took[min(int(len(took) * 0.95), len(took) - 1)], 1),
        "n": len(took),
    }
