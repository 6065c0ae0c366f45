from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from celery import shared_task

from registry.audit.services import check_log, seal_events, sign_checkpoint, tell_anchors
from registry.audit.services.sealing import AT_ONCE, BrokenLog, unsettled_since
from registry.audit.signing import CannotSign
from registry.core import clock
from registry.core.actors import Actor

log = structlog.get_logger(__name__)

RECENT = timedelta(hours=6)


@shared_task(ignore_result=True)
def seal() -> int:
    """Seal what is new."""
    return _seal_from(unsettled_since)


@shared_task(ignore_result=True)
def seal_recent() -> int:
    """Seal what a clock hid from the frequent run: one that differs from the others, or was set."""
    return _seal_from(lambda: clock.now() - RECENT)


@shared_task(ignore_result=True)
def seal_rest() -> int:
    """Seal whatever is older."""
    return _seal_from(lambda: None)


def _seal_from(since: Callable[[], datetime | None]) -> int:
    """Batch after batch while they are full, so that a burst does not wait for the next tick; the few that are written
    meanwhile do, or a busy registry would make a batch for every handful."""
    total = 0
    while True:
        count = seal_events(since=since())
        total += count
        if count < AT_ONCE:
            return total


@shared_task(ignore_result=True)
def sign() -> None:
    """A checkpoint over what was sealed since the last one, told to whoever keeps checkpoints elsewhere."""
    try:
        sign_checkpoint()
    except (CannotSign, BrokenLog) as refused:
        log.error("audit log not signed", why=refused.message)
    tell_anchors()


@shared_task(ignore_result=True)
def verify() -> None:
    """The whole log, from its first entry on."""
    found = check_log(actor=Actor.system("nightly verification"))
    if found.fault:
        log.error("audit log broken", fault=found.fault)


BEAT = {
    "seal-audit-events": {"task": seal.name, "schedule": 5.0},
    "seal-recent-audit-events": {"task": seal_recent.name, "schedule": 300.0},
    "seal-older-audit-events": {"task": seal_rest.name, "schedule": 3600.0},
    "sign-audit-checkpoint": {"task": sign.name, "schedule": 60.0},
    "verify-audit-log": {"task": verify.name, "schedule": 86400.0},
}
