"""The log, a period of it, or some of its events, as a file that verifies without this database."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain

from django.db.models import Max, Min, QuerySet

from registry.audit.log import (
    CHUNK,
    End,
    Record,
    checkpoint_record,
    event_content,
    log_end,
    log_records,
    log_tree,
    moment,
    origin,
    signing_time,
)
from registry.audit.models import Batch, Checkpoint, Event, LogKey, Seal
from registry.audit.services.checkpoints import sign_checkpoint, sign_text
from registry.audit.services.sealing import BrokenLog
from registry.audit.signing import CannotSign
from registry.audit.verifier import FORMAT, export_note_text, written
from registry.core.errors import Conflict


def export_log(since: datetime | None = None, until: datetime | None = None) -> Iterator[bytes]:
    """JSON Lines: everything sealed, or the batches that hold the events of a period. Verifiable on its own.

    Signs a checkpoint first, so that all of it is vouched for; without a key the file says that it is not.
    Raises `Conflict` when nothing was sealed in the period.
    """
    signed = _sign_if_possible()
    if since is None and until is None:
        return _lines(log_records(end=_signed_end(signed)))
    seals = Seal.objects.all()
    if since is not None:
        seals = seals.filter(event__at__gte=since)
    if until is not None:
        seals = seals.filter(event__at__lt=until)
    ends = seals.aggregate(first=Min("batch_id"), last=Max("batch_id"))
    if ends["first"] is None:
        raise Conflict("Nothing was sealed in this period.")
    # Up to the next signature: the period itself may end between two of them.
    size = Batch.objects.values_list("tree_size", flat=True).get(number=ends["last"])
    covers = Checkpoint.objects.filter(tree_size__gte=size).order_by("tree_size", "number").first()
    last = Batch.objects.filter(tree_size=covers.tree_size).first() if covers else None
    end = End(last.number, last.tree_size) if last else End(ends["last"], size)
    return _lines(log_records(ends["first"], end, kind="period"))


def export_extract(events: QuerySet[Event]) -> Iterator[bytes]:
    """JSON Lines: some events, each with the proof that it stands in the log; those not sealed yet are left out.

    Raises `Conflict` while nothing is signed.
    """
    _sign_if_possible()
    signed = Checkpoint.objects.first()
    if signed is None:
        raise Conflict("No checkpoint was signed yet, so nothing can be proved.")
    return _lines(_extract(events, signed))


def _extract(events: QuerySet[Event], signed: Checkpoint) -> Iterator[Record]:
    yield {"type": "export", "format": FORMAT, "kind": "extract", "origin": origin(), "after": 0, "after_batch": 0,
           "frontier": []}  # fmt: skip
    yield checkpoint_record(signed)
    tree = log_tree()
    found = events.filter(seal__position__lte=signed.tree_size).select_related("seal").order_by("seal__position")
    for event in found.iterator(chunk_size=CHUNK):
        seal = event.seal
        yield {
            "type": "event",
            "position": seal.position,
            "id": str(event.pk),
            "leaf_hash": seal.leaf_hash,
            "event": event_content(event),
            "path": [each.hex() for each in tree.inclusion(seal.position - 1, signed.tree_size)],
        }


def _lines(records: Iterable[Record]) -> Iterator[bytes]:
    """One record per line in canonical JSON; the last line is signed over all bytes before it."""
    sha256 = hashlib.sha256()
    for record in chain(records, _keys()):
        line = written(record)
        sha256.update(line)
        yield line
    yield written({"type": "end", "sha256": sha256.hexdigest(), "note": _seal(sha256.hexdigest())})


def _keys() -> Iterator[Record]:
    """For whoever wants to compare them; a verifier believes only keys it was given."""
    for row in LogKey.objects.order_by("valid_from"):
        yield {"type": "key", "key": row.key, "valid_from": moment(row.valid_from)}


def _seal(sha256: str) -> str:
    try:
        return sign_text(export_note_text(origin(), sha256, moment(signing_time())))
    except CannotSign:
        return ""


def _signed_end(signed: Checkpoint | None) -> End:
    """Where the signature is, for others may have sealed more since. A log whose end is not whole is read to its end:
    the verifier must see that."""
    end = log_end()
    if signed is None or not Batch.objects.filter(number=end.batch, tree_size=end.signed).exists():
        return end
    return End(Batch.objects.values_list("number", flat=True).get(tree_size=signed.tree_size), signed.tree_size)


def _sign_if_possible() -> Checkpoint | None:
    try:
        return sign_checkpoint()
    except (CannotSign, BrokenLog):
        # What cannot be signed is exported as it is: the verifier says what is wrong with it.
        return None
