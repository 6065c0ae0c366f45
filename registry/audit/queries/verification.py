"""Checking the database with the code that checks exports."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, OuterRef

from registry.audit.log import log_records
from registry.audit.merkle import TILE_LEVELS
from registry.audit.models import Anchor, Batch, Subtree, Verification
from registry.audit.notes import BadNote, Checkpoint, PublicKey
from registry.audit.queries.rows import changed_rows
from registry.audit.queries.standing import configured, public_keys
from registry.audit.remembered import cut_off
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
        fault, noted = _anchored(trusted or stored) if anchored else ("", [])
        noted += known
        verifier = Verifier(
            keys=trusted or stored,
            all_keys=not trusted,
            known=noted,
            kept={
                (each.tier * TILE_LEVELS, each.index): bytes.fromhex(each.root_hash)
                for each in Subtree.objects.iterator(chunk_size=5000)
            },
        )
        report = verify(log_records(), verifier)
        report.fault = report.fault or fault or changed_rows() or cut_off() or _forgotten()
        if not report.fault and known_root and not Batch.objects.filter(root_hash=known_root).exists():
            report.fault = f"no batch has the root {known_root} any more: the end was cut off or replaced"
    if report.tree_size == 0 and not noted and not configured():
        report.file_vouched = False
        report.remarks.append(
            "an empty log looks like one that was emptied, and nothing elsewhere remembers another: "
            "set AUDIT_ANCHOR_FILE or AUDIT_ANCHOR_URL"
        )
    return report


def _anchored(keys: list[PublicKey]) -> tuple[str, list[Checkpoint]]:
    """What is wrong with the anchors themselves, what the file holds, and what each was told last."""
    fault, notes, found = "", "", []
    path = settings.AUDIT_ANCHOR_FILE
    try:
        if path and Path(path).exists():
            notes = Path(path).read_text()
            found += read_checkpoints(notes, keys)
    except (OSError, UnicodeError, BadNote) as error:
        fault = f"the anchor file is damaged: {error}"
    for anchor in Anchor.objects.filter(told_number__gt=0):
        try:
            found += read_checkpoints(anchor.told_note, keys)
        except BadNote as error:
            fault = fault or f"what the anchor ({anchor.kind}) was told is damaged: {error}"
        # A file of another path is another anchor, which was told nothing yet.
        if anchor.kind == Anchor.Kind.FILE and anchor.place == path and anchor.told_note not in notes:
            fault = fault or f"the anchor file {path} was told checkpoint {anchor.told_number} and does not hold it"
    return fault, found


def _forgotten() -> str:
    """Every earlier run over the log that found nothing wrong saw something that must still be there."""
    there = Batch.objects.filter(tree_size=OuterRef("tree_size"), root_hash=OuterRef("root_hash"))
    lost = Verification.objects.filter(~Exists(there), fault="", tree_size__gt=0).order_by("tree_size").first()
    if lost is None:
        return ""
    return (
        f"the verification of {lost.at.isoformat()} found {lost.tree_size} entries with the root {lost.root_hash}, "
        "which the log does not have any more"
    )


@contextmanager
def one_instant() -> Iterator[None]:
    """All statements see the same moment: what is sealed between two of them is no gap."""
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        if outermost:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
