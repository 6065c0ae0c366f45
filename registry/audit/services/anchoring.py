"""Telling checkpoints to places outside the database, in order, until they were heard."""

import os
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction

from registry.audit.models import Anchor, Checkpoint
from registry.audit.queries import configured
from registry.core import clock, outbound
from registry.core.errors import RegistryError

AT_ONCE = 500
CLAIM = timedelta(minutes=5)
"""Longer than one run takes; a run that died is taken up again after it."""
WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(hours=1)


def tell_anchors() -> int:
    """Tell every configured place the checkpoints it has not heard. Returns how many were told; failures are kept in
    the place's row and tried again, later each time."""
    return sum(_tell(kind) for kind in configured())


def _tell(kind: str) -> int:
    anchor = _claim(kind)
    if anchor is None:
        return 0
    waiting = Checkpoint.objects.order_by("id")
    if anchor.told_id is not None:
        waiting = waiting.filter(id__gt=anchor.told_id)
    told, error = 0, ""
    for checkpoint in waiting[:AT_ONCE]:
        try:
            (_append if kind == Anchor.Kind.FILE else _post)(checkpoint.note)
        except (OSError, RegistryError) as failed:
            error = str(failed)[:500]
            break
        anchor.told, told = checkpoint, told + 1
    now = clock.now()
    if told:
        anchor.succeeded_at = now
    anchor.failures = anchor.failures + 1 if error else 0
    anchor.error = error
    anchor.next_at = now + min(WAIT * 2 ** min(anchor.failures, 10), LONGEST_WAIT) if error else now
    anchor.save()
    return told


@transaction.atomic
def _claim(kind: str) -> Anchor | None:
    Anchor.objects.get_or_create(kind=kind)
    now = clock.now()
    anchor = Anchor.objects.select_for_update(skip_locked=True).filter(kind=kind, next_at__lte=now).first()
    if anchor is not None:
        anchor.next_at = now + CLAIM
        anchor.save(update_fields=["next_at"])
    return anchor


def _append(note: str) -> None:
    path = Path(settings.AUDIT_ANCHOR_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(note)
        file.flush()
        os.fsync(file.fileno())


def _post(note: str) -> None:
    answer = outbound.fetch(
        "POST",
        settings.AUDIT_ANCHOR_URL,
        headers={"Content-Type": "text/plain; charset=utf-8"},
        content=note.encode(),
    )
    if not 200 <= answer.status < 300:
        raise outbound.OutboundError(f"The webhook answered {answer.status}.")
