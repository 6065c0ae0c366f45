"""What the clock does to remediations: every timer is a row that this sweep finds, whatever message got lost.

Each remediation is worked on in a transaction of its own, so that one that cannot go on keeps nobody else waiting,
and a worker that dies between two of them has lost nothing.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef

from registry.core.actors import Actor
from registry.core.errors import RegistryError
from registry.core.permissions import require
from registry.reviews.models import Challenge, ExceptionRecord, Remediation
from registry.reviews.services.exceptions import expire_exception
from registry.reviews.services.remediation import State, carry_out, locked_remediation, send
from registry.reviews.services.verification import find_regressions, give_up_waiting, go_on_after_regress

log = structlog.get_logger(__name__)
SWEEP = Actor.system("follow-up of remediations")
AT_ONCE = 500
"""How many of each timer one sweep takes; the next one goes on."""


def follow_up(*, now: datetime, actor: Actor = SWEEP) -> int:
    """Everything about remediations that is due. Returns how many things moved."""
    require(actor, "reviews.carry_out")
    rows = Remediation.objects.order_by("pk")
    objected = Exists(Challenge.objects.filter(remediation=OuterRef("pk"), upheld=None))
    unopposed = rows.filter(~objected, state=State.CHALLENGE, challenge_until__lte=now)
    errands = rows.filter(state=State.DISPATCHED, next_attempt_at__lte=now)
    unseen = rows.filter(state__in=[State.DISPATCHED, State.VERIFYING], verify_by__lte=now)
    expired = ExceptionRecord.objects.filter(ended_at=None, expires_at__lte=now).order_by("pk")
    moved = _each(_ids(unopposed), lambda pk: dispatch_unopposed(remediation_id=pk, now=now))
    moved += _each(_ids(errands), lambda pk: carry_out(remediation_id=pk))
    moved += _each(_ids(unseen), lambda pk: give_up_waiting(remediation_id=pk))
    moved += _each(_ids(expired), lambda pk: expire_exception(exception_id=pk))
    moved += find_regressions()
    return moved + _each(_ids(rows.filter(state=State.REGRESSED)), lambda pk: go_on_after_regress(remediation_id=pk))


@transaction.atomic
def dispatch_unopposed(*, remediation_id: UUID, now: datetime, actor: Actor = SWEEP) -> bool:
    """The time to object is over and no objection is open: carry it out."""
    require(actor, "reviews.carry_out")
    row = locked_remediation(remediation_id)
    if row.state != State.CHALLENGE or row.challenge_until is None or row.challenge_until > now:
        return False
    if row.challenges.filter(upheld=None).exists():
        return False
    send(actor, row, because="nobody objected")
    return True


def _ids(rows: "Iterable[object]") -> list[UUID]:
    return list(rows.values_list("pk", flat=True)[:AT_ONCE])  # type: ignore[attr-defined]


def _each(ids: Iterable[UUID], act: Callable[[UUID], bool]) -> int:
    moved = 0
    for pk in ids:
        try:
            moved += act(pk)
        except RegistryError as error:
            log.warning("remediation_stuck", id=str(pk), error=error.message)
    return moved
