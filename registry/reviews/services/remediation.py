"""What a signed or clock-made reduce or revoke brings about: dispatch, the channel's errand, report, retry.

Every move of a remediation is one transaction that the next step does not depend on: a worker that dies leaves a
state from which the sweep (`services.follow_up`) goes on. Rows are locked in this order: remediation, certificate,
relationship, server, campaign.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

import structlog
from django.db import transaction
from django.utils.translation import gettext as _

from registry.audit.services import record
from registry.catalog import services as catalog
from registry.catalog.models import Server, Tier
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.events import publish
from registry.core.permissions import allows, require
from registry.core.secrets import refuse_secrets
from registry.reviews import executors
from registry.reviews.events import ErrandWaiting
from registry.reviews.executors import NotCarriedOut, Report, Subject, contradicting
from registry.reviews.facts import collect
from registry.reviews.models import Certificate, Decision, Item, Remediation, SubjectKind
from registry.reviews.outcome import Outcome, Resolution
from registry.reviews.services import certificates
from registry.reviews.services.campaigns import complete_if_remediated
from registry.reviews.services.decisions import certified_until
from registry.reviews.services.moves import locked_campaign
from registry.reviews.services.notices import tell_of_challenge_window, tell_of_errand
from registry.reviews.states import REMEDIATION, RemediationState
from registry.trust import services as trust
from registry.trust.models import Connection, Grant
from registry.trust.states import Status

log = structlog.get_logger(__name__)
State = RemediationState
CHANNELS = Actor.system("channels of remediations")
WINDOW_DAYS = {Tier.CRITICAL: 3, Tier.HIGH: 7, Tier.MEDIUM: 14, Tier.LOW: 30}
"""How long somebody may take to see that access is really gone, by tier."""
LEASE = timedelta(minutes=5)
"""How long one attempt may take; after that the worker is taken for dead and the channel is asked again."""
BACKOFF = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 180, 360))
"""Waits between attempts; the last one repeats until the verification window is over."""


def locked_remediation(remediation_id: UUID, expected_version: str | None = None) -> Remediation:
    fresh: Remediation = (
        Remediation.objects.select_for_update(of=("self",))
        .select_related("item__campaign", "decision__work_item__reviewer")
        .get(pk=remediation_id)
    )
    fresh.check_version(expected_version)
    return fresh


def move(actor: Actor, row: Remediation, after: RemediationState, **data: Any) -> None:
    """Check and set the state, with its evidence; the caller holds the row and saves it."""
    before = row.state
    REMEDIATION.move(row, after, field="state")
    record(actor=actor, act=f"remediation.{after}", subject=row, data={"before": before, "round": row.round, **data})


def settle(actor: Actor, row: Remediation) -> None:
    """After a remediation was saved in a state its campaign need not wait for."""
    complete_if_remediated(actor, locked_campaign(row.item.campaign_id))


# --- From a decision to the cut ----------------------------------------------------------------------------


@transaction.atomic
def dispatch(actor: Actor, item: Item, resolution: Resolution, decision: Decision | None) -> Grant | Connection | None:
    """Bring a reduction or revocation about; the caller holds the item. Safe to call again: an item is cut once.

    `decision` None: the clock decided, and nobody is named for it. Returns the narrower version that remains, None
    when nothing does, or when the people concerned may object first (`campaign.challenge_days`).
    Done here is not verified: REPORTED_DONE and VERIFIED are different states (invariant 11).
    """
    return _plan(actor, item, resolution, decision, decision.reason if decision else _("Nobody answered in time."))


def _plan(
    actor: Actor, item: Item, resolution: Resolution, decision: Decision | None, reason: str
) -> Grant | Connection | None:
    known = Remediation.objects.filter(item=item).first()
    if known is not None:
        return _remaining(known)
    reduces = resolution.value is Outcome.REDUCE
    row = Remediation(
        item=item,
        decision=decision,
        kind=Remediation.Kind.REDUCE if reduces else Remediation.Kind.REVOKE,
        reason=reason[:2000],
        kept=sorted(resolution.kept) if reduces else [],
        certify_until=certified_until(item, resolution.until) if reduces else None,
    )
    row.channel = executors.route(row)
    row.save(force_insert=True)
    facts = {"item": str(item.pk), "kind": row.kind, "kept": row.kept, "channel": row.channel}
    by = {"decision": str(decision.pk) if decision else None}
    record(actor=actor, act="remediation.planned", subject=row, data=facts | by)
    if days := item.campaign.challenge_days:
        row.challenge_until = clock.now() + timedelta(days=days)
        move(actor, row, State.CHALLENGE, until=row.challenge_until)
        row.save()
        tell_of_challenge_window(row)
        return None
    send(actor, row, in_sign_off=decision is not None)
    return _remaining(row)


def _remaining(row: Remediation) -> Grant | Connection | None:
    if row.remains is None:
        return None
    return type(row.item.subject).objects.get(pk=row.remains)  # type: ignore[no-any-return]


def send(actor: Actor, row: Remediation, *, in_sign_off: bool = False, **data: Any) -> None:
    """DISPATCHED, in a new round: the registry acts at once; a further channel gets an errand. Saves the row.

    The registry's act and the state that tells of it are one transaction, the caller's. A sign-off itself certifies
    what remains of all it cuts; what is cut later is certified here, by the same signature.
    """
    row.round += 1
    row.attempts, row.failure, row.next_attempt_at = 0, "", None
    row.dispatched_at, row.reported_at, row.verified_at = clock.now(), None, None
    row.verify_by = row.dispatched_at + _window(row)
    move(actor, row, State.DISPATCHED, channel=row.channel, **data)
    if in_sign_off:
        _cut(actor, row)
    else:
        touched = certificates.resting_on([row.item.subject])
        _cut(actor, row)
        _certify_remains(actor, row)
        certificates.carry_over(actor, touched)
    if row.channel == executors.REGISTRY:
        row.attempts = 1
        reported(actor, row, row.channel_reference)
    else:
        row.next_attempt_at = clock.now()
        publish(ErrandWaiting(remediation_id=row.pk))
    row.save()


def _window(row: Remediation) -> timedelta:
    return timedelta(days=WINDOW_DAYS[Tier(row.item.tier)])


def reported(actor: Actor, row: Remediation, reference: str) -> None:
    """It was said to be done; from now on only what is seen counts. The caller saves the row."""
    move(actor, row, State.REPORTED_DONE, reference=reference)
    row.channel_reference, row.reported_at, row.next_attempt_at, row.failure = reference[:300], clock.now(), None, ""
    row.verify_by = row.reported_at + _window(row)
    move(actor, row, State.VERIFYING, verify_by=row.verify_by)


def _cut(actor: Actor, row: Remediation) -> None:
    """What is certified no longer, and what the registry takes away."""
    item = row.item
    because = "A review revoked it."
    if row.kind == Remediation.Kind.REDUCE:
        because = "A review reduced it; the narrower version has its own certificate."
    elif row.decision is None:
        because = "Nobody answered for it in time."
    # A certificate ends before what it certifies does, and in the same order as everywhere: certificate, then thing.
    gone = [(item.kind, item.subject_pk)]
    gone += [("grant" if item.kind == SubjectKind.AGENT else item.kind, each.pk) for each in contradicting(row)]
    for kind, subject_id in dict.fromkeys(gone):
        certificates.end_valid(actor=actor, kind=kind, subject_id=subject_id, because=because)
    report = executors.executor_for(executors.REGISTRY).carry_out(row)
    row.channel_reference = report.reference
    if item.kind in (SubjectKind.SERVER, SubjectKind.AGENT):
        certificates.mirror(item.subject, None)


def _certify_remains(actor: Actor, row: Remediation) -> None:
    """The certificate a reduction was signed for, until the instant the signature fixed, however late it comes."""
    if row.remains is None or row.decision is None or row.certify_until is None or row.certify_until <= clock.now():
        return
    if Certificate.objects.filter(**{row.item.kind: row.remains}, ended_at=None).exists():
        return
    evidence = collect(row.item.kind, [row.remains])[row.remains]
    certificates.issue(
        actor=actor, kind=row.item.kind, evidence=evidence, until=row.certify_until, decision=row.decision
    )


# --- For the ladder ----------------------------------------------------------------------------------------


@transaction.atomic
def cut(actor: Actor, item: Item, reason: str, *, mode: Literal["suspend", "revoke"]) -> list[list[str]]:
    """What the clock does to an item nobody answered for; the caller holds the item.

    Returns what was suspended, as `resume_subjects` takes it; a revocation has a remediation instead.
    """
    if mode == "suspend":
        return suspend_subject(actor, item.kind, item.subject, reason)
    _plan(actor, item, Resolution(Outcome.REVOKE), None, reason)
    return []


@transaction.atomic
def suspend_subject(actor: Actor, kind: str, subject: Subject, reason: str) -> list[list[str]]:
    """Stop a subject, reversibly: `[[kind, id], …]` of what was active and no longer is."""
    if isinstance(subject, Server):
        server = Server.objects.get(pk=subject.pk)
        if server.lifecycle != Lifecycle.ACTIVE:
            return []
        by = _on_behalf_of(actor, "catalog.suspend_server", server)
        catalog.suspend_server(actor=by, server=server, reason=reason)
        return [["server", str(server.pk)]]
    model = Connection if kind == SubjectKind.CONNECTION else Grant
    about = {"agent": subject.pk} if kind == SubjectKind.AGENT else {"pk": subject.pk}
    active = model.objects.filter(status=Status.ACTIVE, **about).select_related("server")
    found: list[Any] = list(active.order_by("server_id", "pk"))
    for each in found:
        by = _on_behalf_of(actor, "trust.suspend_relationship", each)
        trust.suspend_relationship(actor=by, relationship=each, reason=reason)
    return [[each.kind, str(each.pk)] for each in found]


@transaction.atomic
def resume_subjects(actor: Actor, pairs: Sequence[Sequence[str]], reason: str) -> list[list[str]]:
    """Give back what `suspend_subject` stopped, as far as it still rests; returns what is active again.

    By somebody independent of each of them, whom the caller has found fit; raises `NotIndependent`. What was revoked
    or has run out meanwhile stays as it is.
    """
    by = actor.beyond_scopes()
    resumed = []
    # Relationships before servers, each in the order of its id: the order in which everybody locks them.
    for kind, model in (("grant", Grant), ("connection", Connection)):
        ids = [pk for of_kind, pk in pairs if of_kind == kind]
        resting = model.objects.filter(pk__in=ids, status=Status.SUSPENDED, valid_until__gt=clock.now())
        for each in resting.select_related("server").order_by("server_id", "pk"):
            trust.resume_relationship(actor=by, relationship=each, reason=reason, by_review=True)
            resumed.append([kind, str(each.pk)])
    ids = [pk for of_kind, pk in pairs if of_kind == "server"]
    for server in Server.objects.filter(pk__in=ids, lifecycle=Lifecycle.SUSPENDED).order_by("pk"):
        catalog.resume_server(actor=by, server=server, reason=reason, by_review=True)
        resumed.append(["server", str(server.pk)])
    return resumed


def _on_behalf_of(actor: Actor, permission: str, thing: Any) -> Actor:
    return actor if allows(actor, permission, thing) else Actor.system(f"review, for {actor.label}")


# --- The errand of a channel -------------------------------------------------------------------------------


def carry_out(*, remediation_id: UUID, actor: Actor = CHANNELS) -> bool:
    """Ask the channel of a dispatched remediation once, if it is due. False when there is nothing to ask.

    The channel is asked outside of any transaction. Whoever dies meanwhile loses nothing: after `LEASE` the errand is
    due again, under the same name, so that a channel that did it already need not do it twice.
    """
    require(actor, "reviews.carry_out", None)
    row = _claim(remediation_id)
    if row is None:
        return False
    try:
        report: Report | None = executors.executor_for(row.channel).carry_out(row)
        failure = ""
    except NotCarriedOut as error:
        report, failure = None, str(error)
    except Exception as error:
        log.exception("channel_failed", channel=row.channel, remediation_id=str(row.pk))
        report, failure = None, _("The channel failed (%(kind)s).") % {"kind": type(error).__name__}
    _note(actor, row, report, failure)
    return True


@transaction.atomic
def _claim(remediation_id: UUID) -> Remediation | None:
    due = Remediation.objects.filter(pk=remediation_id, state=State.DISPATCHED, next_attempt_at__lte=clock.now())
    row: Remediation | None = (
        due.select_for_update(of=("self",), skip_locked=True)
        .select_related("item__campaign", "decision__work_item__reviewer")
        .first()
    )
    if row is not None:
        row.attempts += 1
        row.next_attempt_at = clock.now() + LEASE
        row.save()
    return row


@transaction.atomic
def _note(actor: Actor, asked: Remediation, report: Report | None, failure: str) -> None:
    row = locked_remediation(asked.pk)
    if row.state != State.DISPATCHED or row.round != asked.round:
        return  # It was reported, seen or excepted while the channel worked on it.
    facts = {"channel": row.channel, "round": row.round, "attempt": row.attempts}
    if report is None:
        row.failure = failure[:300]
        row.next_attempt_at = clock.now() + BACKOFF[min(row.attempts, len(BACKOFF)) - 1]
        record(actor=actor, act="remediation.attempt_failed", subject=row, data=facts | {"failure": row.failure})
    elif report.done:
        record(actor=actor, act="remediation.carried_out", subject=row, data=facts)
        reported(actor, row, report.reference)
    else:
        row.channel_reference, row.instruction = report.reference[:300], (report.detail or row.instruction)[:2000]
        row.next_attempt_at, row.failure = None, ""
        record(actor=actor, act="remediation.taken", subject=row, data=facts | {"reference": row.channel_reference})
        if row.channel == executors.MANUAL:
            tell_of_errand(row)
    row.save()


@transaction.atomic
def report_done(
    *, actor: Actor, remediation: Remediation, reference: str, expected_version: str | None = None
) -> Remediation:
    """Somebody, or a channel that answers later, says it is done. It proves nothing: now somebody else has to look.

    `reference` is the ticket or change id by which it can be found.
    """
    require(actor, "reviews.report_remediation", remediation)
    refuse_secrets({"reference": reference})
    row = locked_remediation(remediation.pk, expected_version)
    REMEDIATION.check(row.state, State.REPORTED_DONE)
    if not reference.strip():
        raise Invalid(fields={"reference": ["Give the ticket or change by which it can be found."]})
    if len(reference.strip()) > 300:
        raise Invalid(fields={"reference": ["At most 300 characters."]})
    reported(actor, row, reference.strip())
    row.save()
    return row


@transaction.atomic
def retry_remediation(
    *,
    actor: Actor,
    remediation: Remediation,
    channel: str = "",
    instruction: str = "",
    expected_version: str | None = None,
) -> Remediation:
    """Carry it out once more: what was not seen to take effect, what came back, or what a channel failed to do.

    The authority is the decision it came from. `channel` sends it another way from now on, `instruction` says what
    somebody outside has to do.
    """
    require(actor, "reviews.retry_remediation", remediation)
    refuse_secrets({"instruction": instruction})
    row = locked_remediation(remediation.pk, expected_version)
    if channel and channel not in executors.channels():
        raise Invalid(fields={"channel": [f"Choose one of: {', '.join(executors.channels())}."]})
    row.channel = channel or row.channel
    row.instruction = instruction.strip()[:2000] or row.instruction
    if row.state in (State.CHALLENGE, State.PLANNED, State.EXCEPTION):
        raise Conflict("It is not yet, or not now, to be carried out.")
    if row.state == State.DISPATCHED:
        # A channel that has the errand is not asked again; one that failed, or another one, is asked now.
        if not (row.failure or channel):
            raise Conflict("Its channel has been asked and has not failed.")
        row.next_attempt_at = clock.now()
        record(actor=actor, act="remediation.asked_again", subject=row, data={"channel": row.channel})
        row.save()
        publish(ErrandWaiting(remediation_id=row.pk))
        return row
    send(actor, row)
    return row
