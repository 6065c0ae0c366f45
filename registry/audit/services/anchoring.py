"""Telling checkpoints to places outside the database, in order, until they were heard."""

import os
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from registry.audit.models import Anchor, Checkpoint
from registry.audit.queries import configured
from registry.audit.remembered import Forgotten, lost_file
from registry.audit.services.events import record
from registry.audit.subjects import LOG
from registry.core import clock, outbound
from registry.core.actors import Actor
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
    told, error = 0, _lost() if kind == Anchor.Kind.FILE else ""
    waiting = Checkpoint.objects.filter(number__gt=anchor.told_number).order_by("number")
    for checkpoint in () if error else waiting[:AT_ONCE]:
        try:
            (_append if kind == Anchor.Kind.FILE else _post)(checkpoint.note)
        except (OSError, RegistryError) as failed:
            error = str(failed)[:500]
            break
        anchor.told_number, anchor.told_note, told = checkpoint.number, checkpoint.note, told + 1
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
    place = settings.AUDIT_ANCHOR_FILE if kind == Anchor.Kind.FILE else ""
    Anchor.objects.get_or_create(kind=kind, defaults={"place": place})
    now = clock.now()
    # A time that lies further ahead than anybody waits is of a clock that was wrong.
    due = Q(next_at__lte=now) | Q(next_at__gt=now + LONGEST_WAIT)
    anchor = Anchor.objects.select_for_update(skip_locked=True).filter(due, kind=kind).first()
    if anchor is not None:
        if anchor.place != place:
            _move(anchor, place)
        anchor.next_at = now + CLAIM
        anchor.save()
    return anchor


def _move(anchor: Anchor, place: str) -> None:
    """Another file begins from the first checkpoint, and the log says since when there is one."""
    if anchor.told_number:
        record(
            actor=Actor.system("audit log"),
            act="audit.anchor_moved",
            subject=LOG,
            data={"before": anchor.place, "now": place, "told": anchor.told_number},
        )
    anchor.place, anchor.told_number, anchor.told_note = place, 0, ""


def _lost() -> str:
    """A file that lost what it was told gets no more, or it would look whole again."""
    try:
        return lost_file()
    except Forgotten as what:
        return str(what)


def _append(note: str) -> None:
    """All of it or nothing: half a note would spoil all that follow."""
    path, data = Path(settings.AUDIT_ANCHOR_FILE), note.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            if file.write(data) != len(data):
                raise OSError("The checkpoint was not written whole: is the disk full?")
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)
            raise


def _post(note: str) -> None:
    answer = outbound.fetch(
        "POST",
        settings.AUDIT_ANCHOR_URL,
        headers={"Content-Type": "text/plain; charset=utf-8"},
        content=note.encode(),
    )
    if not 200 <= answer.status < 300:
        raise outbound.OutboundError(f"The webhook answered {answer.status}.")
