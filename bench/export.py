"""A campaign of 100,000 items for those who run it: its files, its page and its report over HTTP, and what memory the
web server takes while it writes them."""

import http.client
import os
import time
from pathlib import Path
from typing import Any

from bench.measure import fresh_database, parse, report
from bench.workbench import Browser, _figures, _server, _session, _stage

GOAL_MB = 200
PAGES = 20


def main(argv: list[str]) -> None:
    options = parse("export", argv, items=100_000)
    with fresh_database():
        campaign, _reviewer, _staged = _stage(options.items)
        _sign_all(campaign)
        session = _session(campaign.owner)
        root = f"/reviews/{campaign.pk}"
        with _server() as port:
            client = Browser(port, session)
            rows: list[dict[str, Any]] = []
            for name in (root, f"{root}/report", "/reviews", "/reviews/statistics"):
                took = [client.ask("GET", f"{name}/") for _ in range(PAGES)]
                assert {status for status, *_rest in took} == {200}, name
                rows.append({"what": name.replace(str(campaign.pk), "campaign"), **_figures([ms for *_r, ms in took])})
            before = _peak_mb()
            for file in ("items.csv", "export/items.json", "export/population.csv"):
                rows.append({"what": file, **_download(port, session, f"{root}/{file}"), "peak_mb": _peak_mb()})
            rows.append({"what": "memory", "before_mb": before, "peak_mb": _peak_mb(), "goal_mb": GOAL_MB})
    report([row | {"bench": "export", "items": options.items} for row in rows], write=not options.no_report)


def _sign_all(campaign: Any) -> None:
    """A signed answer for every work item, written by the database: the bench is about reading them."""
    from django.db import connection

    from registry.core import clock
    from registry.reviews.models import SignOff

    signature = SignOff.objects.create(
        campaign=campaign,
        reviewer=campaign.owner,
        decisions_root="0" * 64,
        decision_count=campaign.items.count(),
        statement="Measured.",
        at=clock.now(),
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO reviews_decision (id, created_at, updated_at, version, work_item_id, value, kept, reason,"
            " evidence_hash, decided_at, decided_ms, first_value, recommended, signed_at, sign_off_id)"
            " SELECT gen_random_uuid(), now(), now(), 1, work.id, 'certify', '{}', 'Still needed by the planners.',"
            " item.evidence_hash, now(), 20000 + (random() * 60000)::int, '', '', now(), %s"
            " FROM reviews_workitem work JOIN reviews_item item ON item.id = work.item_id WHERE item.campaign_id = %s",
            [signature.pk, campaign.pk],
        )
        cursor.execute("UPDATE reviews_workitem SET state = 'closed'")
        cursor.execute("UPDATE reviews_item SET state = 'certified', outcome = 'certify'")
        cursor.execute("VACUUM ANALYZE")


def _download(port: int, session: str, url: str) -> dict[str, float]:
    """Read a file to its end and throw it away."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    started = time.perf_counter()
    connection.request("GET", url, headers={"Cookie": f"sessionid={session}"})
    answer = connection.getresponse()
    first = time.perf_counter() - started
    size = lines = 0
    while chunk := answer.read(1 << 16):
        size += len(chunk)
        lines += chunk.count(b"\n")
    seconds = time.perf_counter() - started
    assert answer.status == 200, (answer.status, url)
    return {
        "seconds": round(seconds, 1),
        "first_byte_s": round(first, 2),
        "mb": round(size / 1e6, 1),
        "rows_per_second": round(lines / seconds),
    }


def _peak_mb() -> float:
    """The most memory a process of the web server held so far."""
    peaks = [0.0]
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            facts = dict(line.split(":", 1) for line in status.read_text().splitlines())
            command = (status.parent / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if b"granian" in command and _descends(int(facts["Pid"])):
            peaks.append(int(facts["VmHWM"].split()[0]) / 1024)
    return round(max(peaks), 1)


def _descends(pid: int) -> bool:
    """Whether a process is a child of this one, or of one of its children."""
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False
