"""Checking the database with the code that checks exports."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction

from registry.audit.log import log_records
from registry.audit.merkle import TILE_LEVELS
from registry.audit.models import Anchor, Batch, Subtree
from registry.audit.notes import BadNote, Checkpoint, Note, PublicKey
from registry.audit.queries.standing import public_keys
from registry.audit.verifier import Report, Verifier, read_checkpoints, verify


def verify_log(
    *, keys: Iterable[PublicKey] = (), known: Iterable[Checkpoint] = (), known_root: str = "", anchored: bool = True
) -> Report:
    """Recompute every hash and root in order; the report names the first record that is not what was sealed.

    Neither the database nor its keys can vouch for themselves: `keys` and `known` checkpoints (or a `known_root`) come
    from elsewhere. With `anchored` what this installation told its anchors counts as known. Without `keys` those in the
    database are used.
    """
    with one_instant():
        stored = public_keys()
        trusted = list(keys)
        faults, noted = _anchored(trusted or stored) if anchored else ("", [])
        verifier = Verifier(
            keys=trusted or stored,
            all_keys=not trusted,
            known=[*known, *noted],
            kept={
                (each.tier * TILE_LEVELS, each.index): bytes.fromhex(each.root_hash)
                for each in Subtree.objects.iterator(chunk_size=5000)
            },
        )
        report = verify(log_records(), verifier)
        if not report.fault and faults:
            report.fault = faults
        if not report.fault and known_root and not Batch.objects.filter(root_hash=known_root).exists():
            report.fault = f"no batch has the root {known_root} any more: the end was cut off or replaced"
    return report


def _anchored(keys: list[PublicKey]) -> tuple[str, list[Checkpoint]]:
    """What the anchor file holds, and the last checkpoint each anchor was told."""
    found: list[Checkpoint] = []
    path = settings.AUDIT_ANCHOR_FILE
    if path and Path(path).exists():
        try:
            found += read_checkpoints(Path(path).read_text(), keys)
        except (OSError, UnicodeError, BadNote) as error:
            return f"the anchor file is damaged: {error}", []
    for anchor in Anchor.objects.filter(told__isnull=False).select_related("told"):
        assert anchor.told is not None
        with suppress(BadNote):  # verified in its place, as a checkpoint
            found.append(Checkpoint.parse(Note.parse(anchor.told.note).text))
    return "", found


@contextmanager
def one_instant() -> Iterator[None]:
    """All statements see the same moment: what is sealed between two of them is no gap."""
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        if outermost:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
