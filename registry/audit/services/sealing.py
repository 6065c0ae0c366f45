"""Appending committed events to the log."""

from datetime import datetime

from django.db import connection, transaction

from registry.audit.log import event_hash, last_batch, log_tree
from registry.audit.merkle import TILE_LEVELS
from registry.audit.models import Batch, Event, Seal, Subtree
from registry.core import clock
from registry.core.errors import Conflict

_SEAL_LOCK = 7_301_001  # one sealer at a time; acts never take this lock


class BrokenLog(Conflict):
    """What is stored is not what was sealed. Nothing is built on it; `manage.py verify_audit` names the record."""

    code, title = "audit-log-broken", "The audit log is not what was sealed"


@transaction.atomic
def seal_events(*, limit: int = 5000, since: datetime | None = None) -> int:
    """Append the committed, unsealed events to the log as one batch. Returns how many were sealed.

    The log is in order of sealing, not of `at`: a transaction that commits late is sealed late, and none is lost.
    `since` spares the frequent run from looking through all history for the few that are new; a run without it
    finds whatever is older. Raises `BrokenLog` when the tree that is there has another root than was written down.
    """
    if not take_lock(_SEAL_LOCK):
        return 0
    unsealed = Event.objects.filter(seal__isnull=True)
    if since is not None:
        unsealed = unsealed.filter(at__gte=since)
    events = list(unsealed.order_by("at", "id")[:limit])
    if not events:
        return 0
    last = last_batch()
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
        sealed_at=clock.now(),
        tree_size=frontier.size,
        root_hash=frontier.root.hex(),
    )
    Seal.objects.bulk_create(
        Seal(event=event, batch=batch, position=position, leaf_hash=leaf.hex())
        for position, (event, leaf) in enumerate(zip(events, leaves, strict=True), size + 1)
    )
    Subtree.objects.bulk_create(complete)
    return len(events)


def take_lock(number: int) -> bool:
    """A lock that ends with the transaction; False when somebody else has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        return bool(cursor.fetchone()[0])
