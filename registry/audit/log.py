"""The log as it is stored: what an event says in it, the tree over it, and all of it as records for a verifier."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from django.conf import settings
from django.db.models import Max, QuerySet

from registry.audit import notes
from registry.audit.merkle import EMPTY_ROOT, TILE, Tree, leaf_hash
from registry.audit.models import Batch, Checkpoint, Event, LogKey, Seal, Subtree
from registry.audit.signing import WrongClock
from registry.audit.verifier import FORMAT, SKEW
from registry.core import clock
from registry.core.canonical import canonical_json

Record = dict[str, Any]
CHUNK = 2000
EMPTY = EMPTY_ROOT.hex()
"""The root of the log before anything was sealed."""


def event_content(event: Event) -> dict[str, Any]:
    """Everything an event says (docs/audit-chain.md lists the fields); the RFC 8785 form of it is the log's entry."""
    return {
        "id": str(event.pk),
        "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": [event.actor_kind, str(event.actor_id or ""), event.actor_label, str(event.token_id or "")],
        "act": event.act,
        "subject": [event.subject_type, str(event.subject_id), event.subject_label],
        "request_id": event.request_id,
        "data": event.data,
    }


def event_hash(event: Event) -> bytes:
    return leaf_hash(canonical_json(event_content(event)))


def last_batch() -> Batch | None:
    return Batch.objects.order_by("-number").first()


def log_time() -> datetime:
    """Now, and never before what is in the log: a clock that was set wrong must not look like a forgery."""
    last, signed, key = last_batch(), Checkpoint.objects.first(), newest_key()
    there = [last.sealed_at if last else None, signed.signed_at if signed else None, key.valid_from if key else None]
    return max([clock.now(), *(at for at in there if at is not None)])


def signing_time() -> datetime:
    """`log_time`, as long as it is now give or take what clocks differ by. Raises `WrongClock`: a time that is known to
    be wrong is not signed. It is right again by itself as soon as the clock has come as far as the log.
    """
    now, at = clock.now(), log_time()
    if at - now > SKEW:
        raise WrongClock(
            f"The log goes up to {moment(at)}, the clock stands at {moment(now)}. One of them is wrong: set the clock, "
            "or nothing is signed until it has come that far."
        )
    return at


def newest_key() -> LogKey | None:
    """The one that signs; None before the first signature."""
    return LogKey.objects.order_by("-valid_from").first()


def _tile(tier: int, number: int) -> list[bytes]:
    start, end = number * TILE, (number + 1) * TILE
    if tier == 0:
        seals = Seal.objects.filter(position__gt=start, position__lte=end).order_by("position")
        return [bytes.fromhex(each) for each in seals.values_list("leaf_hash", flat=True)]
    above = Subtree.objects.filter(tier=tier, index__gte=start, index__lt=end).order_by("index")
    return [bytes.fromhex(each) for each in above.values_list("root_hash", flat=True)]


def log_tree() -> Tree:
    """The tree as it is stored; its answers are only as good as that, which is why whoever gets them checks them."""
    return Tree(_tile)


# --- As records --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class End:
    """How far to read while others go on sealing: the last batch, and the longest log that was signed."""

    batch: int
    signed: int


def log_end() -> End:
    """The end of the log as it is now. The batch is read last: what was seen before it is never beyond it, unless a
    batch was taken away from under its events or its signature; then the end lies where those are, so that it shows.
    """
    seal = Seal.objects.order_by("-position").first()
    signed = Checkpoint.objects.aggregate(size=Max("tree_size"))["size"] or 0
    last = last_batch()
    number, size = (last.number, last.tree_size) if last else (0, 0)
    return End(max(number, seal.batch_id if seal else 0), max(size, signed))


def log_records(first: int = 1, end: End | None = None, *, kind: str = "log") -> Iterator[Record]:
    """The header, then each batch from `first` on: its events, itself, and the checkpoints signed over it.

    What is missing from the database is missing here, and what should not be there is here: the verifier must see it.
    Several statements read it: whoever gives no `end` must let them all see one instant.
    """
    before = Batch.objects.filter(number=first - 1).first()
    after = before.tree_size if before else 0
    seals = Seal.objects.filter(position__gt=after)
    batches = Batch.objects.filter(number__gte=first)
    checkpoints = Checkpoint.objects.filter(tree_size__gt=after)
    if end is not None:
        seals, batches = seals.filter(batch_id__lte=end.batch), batches.filter(number__lte=end.batch)
        checkpoints = checkpoints.filter(tree_size__lte=end.signed)
    yield {
        "type": "export",
        "format": FORMAT,
        "kind": kind,
        "origin": origin(),
        "after": after,
        "after_batch": before.number if before else 0,
        "frontier": [each.hex() for each in log_tree().frontier(after).hashes],
    }
    # Each of the three is read once, in order, and merged: memory does not grow with the log.
    links = _Ahead(batches.order_by("number").iterator(chunk_size=CHUNK))
    signed = _Ahead(checkpoints.order_by("tree_size", "number").iterator(chunk_size=CHUNK))
    for seal, event in _sealed(seals):
        while links.next is not None and links.next.number < seal.batch_id:
            yield from _link(links.take(), signed)
        yield {
            "type": "event",
            "position": seal.position,
            "batch": seal.batch_id,
            "id": str(seal.event_id),
            "leaf_hash": seal.leaf_hash,
            "event": event_content(event) if event else None,
        }
    while links.next is not None:
        yield from _link(links.take(), signed)
    while signed.next is not None:
        yield checkpoint_record(signed.take())


class _Ahead:
    """An iterator one can look into."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self._rows = rows
        self.next: Any = next(rows, None)

    def take(self) -> Any:
        taken, self.next = self.next, next(self._rows, None)
        return taken


def _sealed(seals: QuerySet[Seal]) -> Iterator[tuple[Seal, Event | None]]:
    """Not joined: a seal whose event is gone must be seen, not silently left out."""
    page: list[Seal] = []
    for seal in chain(seals.order_by("position").iterator(chunk_size=CHUNK), [None]):
        if seal is not None:
            page.append(seal)
        if page and (seal is None or len(page) == CHUNK):
            events = Event.objects.in_bulk([each.event_id for each in page])
            yield from ((each, events.get(each.event_id)) for each in page)
            page = []


def _link(batch: Batch, signed: _Ahead) -> Iterator[Record]:
    yield {
        "type": "batch",
        "number": batch.number,
        "sealed_at": moment(batch.sealed_at),
        "tree_size": batch.tree_size,
        "root_hash": batch.root_hash,
    }
    while signed.next is not None and signed.next.tree_size <= batch.tree_size:
        yield checkpoint_record(signed.take())


def checkpoint_record(checkpoint: Checkpoint) -> Record:
    return {"type": "checkpoint", "note": checkpoint.note}


def moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def origin() -> str:
    newest = newest_key()
    return notes.PublicKey.parse(newest.key).name if newest else settings.AUDIT_ORIGIN
