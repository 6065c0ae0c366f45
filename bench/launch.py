"""From a template to a staged campaign of 100,000 items, against the bare `INSERT … SELECT` of as many rows.

The bare statements fill the four tables that a launch fills (population, evidence blocks, items, work items) with the
same number of rows and the same constraints, indexes and triggers, from a table of ids and with small constants: what
the database alone needs to store that many rows. Nothing is composed, hashed or chosen in them, and they run one after
the other in one session. A launch uses two sessions, so `processor_s` may be more than what the clock says.
"""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.measure import fresh_database, parse, report

GOAL = 3.0


class Steps:
    """Where the processor time of a launch goes, over all its database sessions: which statements, commits, Python."""

    KINDS = (
        ("population", 'reviews_populationentry" (campaign_id'),
        ("items", 'INSERT INTO "reviews_item"'),
        ("blocks", "frozen_part"),
        ("work_items", 'INSERT INTO "reviews_workitem"'),
        ("barred", "LATERAL (VALUES"),
        ("in_scope", "array_agg(entry."),
        ("hash", "string_agg"),
        ("references", "SET CONSTRAINTS"),
        ("analyze", "ANALYZE"),
    )

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def watching(self) -> Iterator[None]:
        from django.db import connection
        from django.db.backends.signals import connection_created

        def opened(connection: Any, **_: Any) -> None:
            self._watch(connection)

        python = time.process_time()
        self._watch(connection)
        connection_created.connect(opened)
        try:
            yield
        finally:
            connection_created.disconnect(opened)
            connection.execute_wrappers.pop()
            del connection._commit
            self.seconds["python"] = time.process_time() - python

    def _watch(self, connection: Any) -> None:
        number, commit = session(connection), connection._commit

        def timed(name: str, call: Callable[[], Any]) -> Any:
            started = busy(number)
            try:
                return call()
            finally:
                self.seconds[name] += busy(number) - started

        def execute(run: Any, sql: str, *arguments: Any) -> Any:
            kind = next((name for name, sign in self.KINDS if sign in sql), "other_sql")
            return timed(kind, lambda: run(sql, *arguments))

        connection.execute_wrappers.append(execute)
        connection._commit = lambda: timed("commit", commit)


def session(connection: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid: int = cursor.fetchone()[0]
    return pid


def busy(pid: int) -> float:
    """Processor seconds of a database session so far; what it took says more than a clock on a machine in use."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return time.perf_counter()  # the database runs elsewhere
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bare(grants: int) -> tuple[float, float]:
    """Seconds and processor seconds for the plain rows, committed; the tables are empty again afterwards."""
    from django.db import connection

    from registry.accounts.models import User
    from registry.core.bulk import Sql, insert_select, table_of
    from registry.reviews.models import Campaign, EvidenceBlock, Item, PopulationEntry, WorkItem
    from registry.trust.models import Grant

    campaign = Campaign.objects.create(
        name="Bare", period="bare", scope_hash="-", due_at="2100-01-01T00:00Z", state="draft"
    )
    reviewers = list(User.objects.filter(roles__contains=["reviewer"]).values_list("pk", flat=True))
    with connection.cursor() as cursor:
        # Ids that follow time, made before the clock starts: where they come from is nobody's work here.
        cursor.execute(
            "CREATE TEMPORARY TABLE bare AS SELECT id AS grant_id, server_id, place, "  # noqa: S608 - our own names
            "repeat(replace(server_id::text, '-', ''), 2) AS block, "
            "('0193f000-0001-7000-8000-' || lpad(to_hex(place), 12, '0'))::uuid AS item, "
            "('0193f000-0002-7000-8000-' || lpad(to_hex(place), 12, '0'))::uuid AS work, "
            "(%s::uuid[])[place %% %s + 1] AS reviewer FROM ("
            f"SELECT *, row_number() OVER (ORDER BY server_id, id) AS place FROM {table_of(Grant)}"
            ") grants ORDER BY place LIMIT %s",
            [reviewers, len(reviewers), grants],
        )
        cursor.execute("ANALYZE bare")
        cursor.execute("CREATE TEMPORARY TABLE bare_block AS SELECT DISTINCT block FROM bare ORDER BY block")
        before, started = busy(session(connection)), time.perf_counter()
        insert_select(
            PopulationEntry,
            {
                "campaign_id": campaign.pk, "kind": "grant", "grant_id": Sql("grant_id"), "position": Sql("place"),
            },
            Sql("bare ORDER BY place"),
        )  # fmt: skip
        insert_select(EvidenceBlock, {"digest": Sql("block"), "text": "{}"}, Sql("bare_block ORDER BY block"))
        insert_select(
            Item,
            {
                "id": Sql("item"), "campaign_id": campaign.pk, "kind": "grant", "grant_id": Sql("grant_id"),
                "rests_on_id": Sql("server_id"), "label": "x", "tier": "low", "due_at": campaign.due_at,
                "state": "in_review", "snapshot": {}, "block_id": Sql("block"), "fingerprint": "x",
                "evidence_hash": "x",
            },
            Sql("bare ORDER BY item"),
        )  # fmt: skip
        insert_select(
            WorkItem,
            {
                "id": Sql("work"), "item_id": Sql("item"), "reviewer_id": Sql("reviewer"),
                "original_reviewer_id": Sql("reviewer"), "chosen_because": "x",
            },
            Sql("bare ORDER BY work"),
        )  # fmt: skip
        took, used = time.perf_counter() - started, busy(session(connection)) - before
        cursor.execute("DROP TABLE bare, bare_block")
        empty()
    return took, used


def empty() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE reviews_item, reviews_workitem, reviews_populationentry, reviews_evidenceblock CASCADE"
        )
        cursor.execute("CHECKPOINT")


def main(argv: list[str]) -> None:
    options = parse("launch", argv, items=100_000, servers=10_000, reviewers=200)
    with fresh_database():
        from django.db import connection

        from bench import estate
        from registry.accounts.models import User
        from registry.core.actors import Actor
        from registry.reviews import services as reviews
        from registry.reviews.models import Campaign, Item, WorkItem

        estate.build(servers=options.servers, grants=options.items, reviewers=options.reviewers)
        manager = User.objects.create(email="manager@example.test", name="Manager", roles=["campaign_manager"])
        actor = Actor.person(manager)
        template = reviews.create_template(actor=actor, name="Every grant", kinds=["grant"], cadence_days=365)
        plain = [bare(options.items)]
        steps = Steps()
        with steps.watching():
            started = time.perf_counter()
            campaign = reviews.launch_campaign(actor=actor, template=template)
            launched = time.perf_counter()
            reviews.generate_items(campaign_id=campaign.pk)
            ended = time.perf_counter()
        campaign.refresh_from_db()
        assert campaign.state == "active", campaign.state_reason
        assert Item.objects.filter(campaign=campaign).count() == options.items
        assert WorkItem.objects.filter(item__campaign=campaign).count() == options.items
        with connection.cursor() as cursor:
            cursor.execute("SELECT avg(length(snapshot::text))::int FROM reviews_item")
            bytes_per_item = cursor.fetchone()[0]
            settings = {}
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                cursor.execute(f"SHOW {name}")
                settings[name] = cursor.fetchone()[0]
        Campaign.objects.filter(pk=campaign.pk).update(state="cancelled")
        empty()
        plain.append(bare(options.items))
    took, floor = ended - started, min(each for each, _used in plain)
    used, least = sum(steps.seconds.values()), min(used for _each, used in plain)
    row = {
        "bench": "launch",
        "items": options.items,
        "servers": options.servers,
        "reviewers": options.reviewers,
        "launch_s": round(launched - started, 2),
        "generation_s": round(ended - launched, 2),
        "bare_insert_select_s": [round(each, 2) for each, _used in plain],
        "times_bare": round(took / floor, 2),
        "goal": GOAL,
        "processor_s": round(used, 2),
        "bare_processor_s": [round(each, 2) for _took, each in plain],
        "times_bare_processor": round(used / least, 2),
        "items_per_second": round(options.items / took),
        "bytes_per_snapshot": bytes_per_item,
        "steps_processor_s": {
            name: round(seconds, 2) for name, seconds in sorted(steps.seconds.items(), key=lambda s: -s[1])
        },
        **settings,
    }
    report([row], write=not options.no_report)
