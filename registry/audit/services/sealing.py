"""Appending committed events to the log.

An event is without a seal because it is new, or because the transaction that wrote it commits late. To find both
without looking through all that is sealed, each batch keeps the moment that its look settled: the beginning of the
oldest transaction that was still writing then. Whatever is from before it had its seal; the next look begins there.
That goes by clocks, which differ and are set back, so now and then a wider look finds what it missed (`tasks`).
"""

from datetime import UTC, datetime, timedelta

from django.db import connection, transaction

from registry.audit.log import event_hash, last_batch, log_time, log_tree
from registry.audit.merkle import TILE_LEVELS
from registry.audit.models import Batch, Event, Seal, Subtree
from registry.audit.verifier import SKEW
from registry.core import clock
from registry.core.errors import Conflict

_SEAL_LOCK = 7_301_001  # one sealer at a time; acts never take this lock

AT_ONCE = 5000

APART = timedelta(seconds=30)
"""So much earlier than its transaction an event may say it was, for clocks differ and events are built before they are
written. What is further apart waits for the wider look."""


class BrokenLog(Conflict):
    """What is stored is not what was sealed. Nothing is built on it; `manage.py verify_audit` names the record."""

    code, title = "audit-log-broken", "The audit log is not what was sealed"


@transaction.atomic
def seal_events(*, limit: int = AT_ONCE, since: datetime | None = None) -> int:
    """Append the committed, unsealed events to the log as one batch. Returns how many were sealed.

    The log is in order of sealing, not of `at`: a transaction that commits late is sealed late, and none is lost.
    `since` spares the frequent run from looking through all history for the few that are new (`unsettled_since`); a
    run without it finds whatever is older. An event that says it is from the future waits for it: sealed now, it would
    move the time of the log ahead of the clock. Raises `BrokenLog` when the tree that is there has another root than
    was written down.
    """
    if not take_lock(_SEAL_LOCK):
        return 0
    last = last_batch()
    settled = _oldest_writer()  # before the look: who commits in between is in it, or began after this
    unsealed = Event.objects.filter(seal__isnull=True, at__lte=clock.now() + SKEW)
    if since is not None:
        unsealed = unsealed.filter(at__gte=since)
    events = list(unsealed.order_by("at", "id")[:limit])
    if not events:
        return 0
    size = last.tree_size if last else 0
    try:
        frontier = log_tree().frontier(size)
    except LookupError as error:
        raise BrokenLog(f"There are {size} entries no more. Run: manage.py verify_audit") from error
    if last is not None and frontier.root.hex() != last.root_hash:
        raise BrokenLog(f"The first {size} entries have another root. Run: manage.py verify_audit")
    leaves = [event_hash(event) for event in events]
    complete = [
        Subtree(tier=level // TILE_LEVELS, index=index, root_hash=root.hex())
        for level, index, root in frontier.extend(leaves)
        if level % TILE_LEVELS == 0
    ]
    batch = Batch.objects.create(
        number=last.number + 1 if last else 1,
        sealed_at=max(log_time(), *(event.at for event in events)),
        settled=settled if len(events) < limit and _joins(since, last) else _settled(last),
        tree_size=frontier.size,
        root_hash=frontier.root.hex(),
    )
    Seal.objects.bulk_create(
        Seal(event=event, batch=batch, position=position, leaf_hash=leaf.hex())
        for position, (event, leaf) in enumerate(zip(events, leaves, strict=True), size + 1)
    )
    Subtree.objects.bulk_create(complete)
    return len(events)


def unsettled_since() -> datetime | None:
    """Where the frequent look begins; None, so everywhere, before the first batch."""
    last = last_batch()
    # Not after now: a clock that was ahead must not hide what is written since it was set right.
    return min(last.settled, clock.now()) - APART if last else None


def _joins(since: datetime | None, last: Batch | None) -> bool:
    """Whether a look from `since` on leaves nothing between what was settled and itself."""
    return since is None or (last is not None and since <= last.settled)


def _settled(last: Batch | None) -> datetime:
    return last.settled if last else datetime.fromtimestamp(0, UTC)


def _oldest_writer() -> datetime:
    """When the oldest transaction began that has written something; now when there is none.

    In time of this process: only the age of a transaction is asked of the database. Whoever only reads, a backup for
    hours, has no transaction id; what it writes later says a later time.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT greatest(interval '0', clock_timestamp() - min(xact_start)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()"
        )
        age: timedelta = cursor.fetchone()[0]
    return clock.now() - age


def take_lock(number: int) -> bool:
    """A lock that ends with the transaction; False when somebody else has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        return bool(cursor.fetchone()[0])
