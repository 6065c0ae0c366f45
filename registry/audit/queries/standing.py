"""Where the log stands, without checking it: for the page, `manage.py doctor` and `/readyz`."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from registry.audit.log import EMPTY, last_batch, signing_time
from registry.audit.models import Anchor, Batch, Checkpoint, Event, LogKey, Verification
from registry.audit.notes import PublicKey
from registry.audit.remembered import cut_off
from registry.audit.signing import CannotSign, signing_key
from registry.audit.verifier import SKEW
from registry.core import clock

PATIENCE = timedelta(minutes=10)
"""Waiting longer than this for a seal or a signature is trouble: both come every minute."""


@dataclass(frozen=True)
class LogState:
    """`root` noted elsewhere proves later that nothing before it was changed or cut off."""

    tree_size: int
    batches: int
    root: str
    sealed_at: datetime | None
    unsealed: int
    checkpoint: Checkpoint | None
    verification: Verification | None


def log_state() -> LogState:
    last = last_batch()
    unsealed = Event.objects.filter(seal__isnull=True).count()
    signed = Checkpoint.objects.select_related("key").first()
    checked = Verification.objects.first()
    if last is None:
        return LogState(0, 0, EMPTY, None, unsealed, signed, checked)
    return LogState(last.tree_size, last.number, last.root_hash, last.sealed_at, unsealed, signed, checked)


@dataclass(frozen=True)
class ListedKey:
    key_id: str
    key: str
    valid_from: datetime
    valid_until: datetime | None
    """When the next key began; None for the one that signs."""


def log_keys() -> list[ListedKey]:
    """All public keys, the newest first."""
    rows = list(LogKey.objects.order_by("-valid_from"))
    ends = [None, *(row.valid_from for row in rows)]
    return [ListedKey(row.key_id, row.key, row.valid_from, end) for row, end in zip(rows, ends, strict=False)]


def public_keys() -> list[PublicKey]:
    return [PublicKey.parse(each.key, each.valid_from, each.valid_until) for each in log_keys()]


def configured() -> list[str]:
    """The kinds of anchors this installation tells its checkpoints."""
    found = []
    if settings.AUDIT_ANCHOR_FILE:
        found.append(Anchor.Kind.FILE.value)
    if settings.AUDIT_ANCHOR_URL:
        found.append(Anchor.Kind.WEBHOOK.value)
    return found


def anchors() -> list[Anchor]:
    """Each configured anchor, also one that was never told anything."""
    there = {each.kind: each for each in Anchor.objects.all()}
    return [there.get(kind) or Anchor(kind=kind) for kind in configured()]


def trouble() -> str:
    """What is wrong with the log as far as a glance shows; empty when nothing is."""
    try:
        signing_key()
        signing_time()
    except CannotSign as why:
        return why.message
    if fault := cut_off():
        return f"{fault} Keep a copy of the database, run manage.py verify_audit, tell security."
    checked = Verification.objects.first()
    if checked is not None and checked.fault:
        return f"The last verification found: {checked.fault}. Keep a copy of the database, tell security."
    now = clock.now()
    before = now - PATIENCE
    if Event.objects.filter(seal__isnull=True, at__lt=before, at__gt=before - timedelta(days=1)).exists():
        return "Events have waited for their seal for ten minutes. Start the worker, or see its log for the reason."
    if Event.objects.filter(seal__isnull=True, at__gt=now + SKEW).exists():
        return "Events say that they are from the future and wait for their seal. Set the clocks of all machines."
    signed = Checkpoint.objects.first()
    unsigned = Batch.objects.filter(tree_size__gt=signed.tree_size if signed else 0).order_by("number").first()
    if unsigned is not None and unsigned.sealed_at < before:
        return "Nothing was signed for ten minutes. Start the worker, or see its log for the reason."
    return next(filter(None, map(_silence, anchors())), "")


def _silence(anchor: Anchor) -> str:
    """Why an anchor does not know the newest checkpoint; empty when it does, or will in a moment."""
    if anchor.failures:
        return f"The anchor ({anchor.kind}) is not told any more: {anchor.error}"
    waiting = Checkpoint.objects.filter(number__gt=anchor.told_number).order_by("number")
    first = waiting.first()
    if first is None or abs(clock.now() - first.signed_at) < PATIENCE:
        return ""
    return f"The anchor ({anchor.kind}) was not told the newest {waiting.count()} checkpoints. Start the worker."
