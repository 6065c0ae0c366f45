"""Did it take effect? Observations of remediations, and access that comes back after it was verified.

The registry's own records are no proof that access is gone, but they can prove that it is not: their contradiction
wins over every observation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.accounts.models import Role, User
from registry.audit.services import record
from registry.catalog.models import Server
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid, NotIndependent
from registry.core.independence import require_decider
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.executors import contradicting, held_now
from registry.reviews.models import Certificate, Decision, Item, Remediation, SubjectKind, Trigger, Verification
from registry.reviews.services.notices import tell_of_trouble
from registry.reviews.services.remediation import State, locked_remediation, move, reported, send, settle
from registry.reviews.services.triggers import raise_trigger
from registry.reviews.states import REMEDIATION
from registry.trust.models import Connection, Grant
from registry.trust.states import Status

WATCHMAN = Actor.system("verification of remediations")
NOTHING = UUID(int=0)
SKEW = timedelta(minutes=5)
"""How far the clock of whoever observed may be ahead of ours."""


@transaction.atomic
def confirm_remediation(
    *, actor: Actor, remediation: Remediation, proof: str, effective: bool = True, expected_version: str | None = None
) -> Remediation:
    """A second, independent person has looked whether the access is really gone, and says what they saw.

    Raises `NotIndependent` for whoever decided it, `Conflict` when the registry itself shows the contrary.
    """
    require_outsider(actor, "reviews.confirm_remediation", remediation)
    refuse_secrets({"proof": proof})
    row = locked_remediation(remediation.pk, expected_version)
    require_outsider(actor, "reviews.confirm_remediation", row)
    if not proof.strip():
        raise Invalid(fields={"proof": ["Say what you looked at and what you saw."]})
    if row.state in (State.EXCEPTION, State.REGRESSED) or (row.state == State.VERIFIED and effective):
        REMEDIATION.check(row.state, State.VERIFIED if effective else State.NOT_VERIFIED)
    if effective and (there := contradicting(row)):
        raise Conflict(still_there(there))
    _take(actor, row, Verification.Source.ATTESTATION, effective, clock.now(), proof.strip())
    return row


def require_outsider(actor: Actor, permission: str, row: Remediation) -> None:
    """The permission, no stake in the subject, and no part in the decision: whoever decided does not judge the result.

    Raises `NotAllowed` and `NotIndependent`.
    """
    require_decider(actor, permission, row)
    if actor.user_id in deciders(row.item):
        raise NotIndependent("Whoever decided it cannot also judge how it ended.")


def deciders(item: Item) -> set[UUID]:
    """Everybody whose signed answer counts for the item's outcome."""
    signed = Decision.objects.filter(work_item__item=item, signed_at__isnull=False)
    return set(signed.exclude(value=Decision.Value.NOT_DECIDED).values_list("work_item__reviewer", flat=True))


@dataclass(frozen=True)
class Judges:
    """Who of security may judge how a remediation ended, and why the others may not."""

    able: list[User]
    barred: dict[User, list[str]]

    @property
    def in_words(self) -> str:
        """Who may be asked; where nobody may, what helps."""
        if self.able:
            names = [person.name for person in self.able[:NAMED]]
            if more := len(self.able) - len(names):
                names.append(ngettext("%(n)d more", "%(n)d more", more) % {"n": more})
            return _("Ask %(names)s: they look after security and have no part in it.") % {"names": ", ".join(names)}
        return _(
            "At the moment nobody of security is independent of it. Ask an administrator to give somebody else the "
            "role security."
        )


NAMED = 4
"""So many people are named where it is said who may; the rest is counted."""


def judges(row: Remediation, *, besides: Mapping[str, UUID | None] | None = None) -> Judges:
    """Security, sorted by who may judge this and who may not; `besides` names further stakes, as `interested` does."""
    stakes = {**row.interested, **(besides or {})}
    decided = deciders(row.item)
    able, barred = [], {}
    for person in User.objects.filter(is_active=True, roles__contains=[Role.SECURITY]).order_by("name", "pk"):
        why = [words for words, who in stakes.items() if who == person.pk]
        if person.pk in decided:
            why.append(_("decided on it"))
        if why:
            barred[person] = why
        else:
            able.append(person)
    return Judges(able, barred)


def still_there(there: list[Any]) -> str:
    """What the registry shows against an observation, in words."""
    first = there[0]
    state = first.lifecycle if isinstance(first, Server) else first.status
    return _("The registry itself shows it: %(thing)s is %(state)s.") % {"thing": first, "state": state}


@transaction.atomic
def record_observation(
    *,
    actor: Actor,
    source: str,
    confirmed: bool,
    observed_at: datetime,
    proof: str,
    remediation: Remediation | None = None,
    kind: str = "",
    subject_id: UUID | None = None,
) -> list[Verification]:
    """Discovery, an activity log or another machine has seen that access is gone (`confirmed`), or that it is not.

    Named by the remediation, or by kind and id of the subject: then every remediation of that subject that the
    observation is newer than hears of it. Told twice it counts once. The registry's own contradiction wins: it is
    stored beside the observation, and what was seen as gone is NOT_VERIFIED. One that is older than the act says
    nothing about it: `Conflict` for a named remediation, no row for a subject.
    """
    require(actor, "reviews.record_observation", remediation)
    refuse_secrets({"proof": proof})
    errors = {}
    if source not in (Verification.Source.DISCOVERY, Verification.Source.ACTIVITY):
        errors["source"] = ["Name where it was seen: discovery or activity."]
    if observed_at > clock.now() + SKEW:
        errors["observed_at"] = ["This instant is still to come."]
    if not proof.strip():
        errors["proof"] = ["Say what was seen, or where it can be found."]
    if errors:
        raise Invalid(fields=errors)
    if remediation is not None:
        wanted = [remediation.pk]
    else:
        states = (State.DISPATCHED, State.VERIFYING, State.NOT_VERIFIED, State.VERIFIED, State.REGRESSED)
        about = Remediation.objects.filter(item__kind=kind, **{f"item__{kind}": subject_id}, state__in=states)
        wanted = list(about.filter(dispatched_at__lte=observed_at).order_by("pk").values_list("pk", flat=True))
    written = []
    for pk in wanted:
        row = locked_remediation(pk)
        if actor.user_id is not None:
            require_outsider(actor, "reviews.record_observation", row)
        if row.dispatched_at is None or observed_at < (row.reported_at or row.dispatched_at):
            if remediation is None:
                continue
            raise Conflict("It was seen before it was carried out; look again.")
        known = row.verifications.filter(source=source, confirmed=confirmed, observed_at=observed_at).first()
        written.append(known or _take(actor, row, source, confirmed, observed_at, proof.strip()))
    return written


def _take(
    actor: Actor, row: Remediation, source: str, confirmed: bool, observed_at: datetime, proof: str
) -> Verification:
    """Store an observation and draw its conclusion; saves the row the caller holds."""
    seen = _store(actor, row, source, confirmed, observed_at, proof)
    if confirmed and (there := contradicting(row)):
        confirmed = False
        _store(WATCHMAN, row, Verification.Source.REGISTRY, False, clock.now(), still_there(there))
    match row.state:
        case State.VERIFIED:
            if not confirmed:
                regress(actor, row, proof)
            return seen
        case State.REGRESSED | State.EXCEPTION:
            return seen  # Other things have to happen first; what was seen stays on record.
        case State.NOT_VERIFIED if not confirmed:
            return seen
        case State.DISPATCHED if confirmed:
            # Gone before anybody said so; what was seen counts, not who reports it.
            reported(actor, row, row.channel_reference or f"{source} {observed_at:%Y-%m-%d %H:%M}")
        case State.NOT_VERIFIED:
            move(actor, row, State.VERIFYING)
        case State.DISPATCHED | State.VERIFYING:
            pass
        case _:
            raise Conflict(
                f"This remediation is {row.get_state_display().lower()}; nothing about it is to be seen now."
            )
    if confirmed:
        row.verified_at = clock.now()
        move(actor, row, State.VERIFIED, source=source, proof=proof)
        row.save()
        settle(actor, row)
    else:
        move(actor, row, State.NOT_VERIFIED, source=source, proof=proof)
        row.save()
        tell_of_trouble(row, proof)
    return seen


# --- Nobody looked -----------------------------------------------------------------------------------------


@transaction.atomic
def give_up_waiting(*, remediation_id: UUID, actor: Actor = WATCHMAN) -> bool:
    """The tier's window is over and nobody independent has seen it gone: NOT_VERIFIED, and its overseers hear of it."""
    require(actor, "reviews.carry_out")
    row = locked_remediation(remediation_id)
    if row.state not in (State.DISPATCHED, State.VERIFYING) or row.verify_by is None or row.verify_by > clock.now():
        return False
    what = (
        _("Nobody has reported it done in time.") if row.state == State.DISPATCHED else _("Nobody has looked in time.")
    )
    if row.failure:
        what = f"{what} {row.failure}"
    row.next_attempt_at = None
    move(actor, row, State.NOT_VERIFIED, because="no observation", verify_by=row.verify_by)
    row.save()
    tell_of_trouble(row, what)
    return True


# --- Access that comes back --------------------------------------------------------------------------------


def regress(actor: Actor, row: Remediation, what: str) -> None:
    """VERIFIED access was seen again: reopened, its overseers told, and somebody has to review it. Saves the row."""
    row.verified_at = None
    move(actor, row, State.REGRESSED, seen=what)
    row.save()
    kind, subject_id = to_review(row)
    raise_trigger(actor=actor, cause=Trigger.Cause.REGRESSED, kind=kind, subject_id=subject_id, detail=what)
    tell_of_trouble(row, what)


def to_review(row: Remediation) -> tuple[str, UUID]:
    """What a new review has to look at: the version held now, else the subject, else the server it ended at."""
    held = held_now(row)
    if row.item.kind in (SubjectKind.SERVER, SubjectKind.AGENT):
        return row.item.kind, row.item.subject_pk
    if held:
        return row.item.kind, held[0].pk
    return SubjectKind.SERVER, row.item.subject.server_id


def find_regressions(*, server_ids: Iterable[UUID] | None = None, actor: Actor = WATCHMAN) -> int:
    """VERIFIED remediations whose access the registry shows again, without a newer signature. Returns how many.

    With `server_ids` only those that concern these servers. Set-based: what is quiet costs nothing per row.
    """
    require(actor, "reviews.carry_out")
    found = 0
    for pk in list(_suspects(None if server_ids is None else list(server_ids)).values_list("pk", flat=True)):
        found += _regress_if_there(actor, pk)
    return found


def look_again(*, kind: str, id: UUID) -> int:
    """A server, agent, system, grant or connection changed: is something there again that a review took away?"""
    servers = Server.objects.filter(
        {
            "server": Q(pk=id),
            "agent": Q(grants__agent=id),
            "system": Q(connections__system=id),
            "grant": Q(grants=id),
            "connection": Q(connections=id),
        }[kind]
    )
    return find_regressions(server_ids=servers.order_by().values_list("pk", flat=True).distinct())


@transaction.atomic
def _regress_if_there(actor: Actor, remediation_id: UUID) -> bool:
    row = locked_remediation(remediation_id)
    if row.state != State.VERIFIED:
        return False
    there = contradicting(row)
    if not there:
        return False
    what = still_there(there)
    _store(actor, row, Verification.Source.REGISTRY, False, clock.now(), what)
    regress(actor, row, what)
    return True


def _suspects(server_ids: list[UUID] | None) -> QuerySet[Remediation]:
    """Verified remediations, the newest of each subject, whose ends hold something that they did not leave behind."""
    anew = Certificate.objects.filter(ended_at=None, decision__signed_at__gt=OuterRef(OuterRef("created_at")))
    left_behind = Coalesce(OuterRef("remains"), Value(NOTHING))

    def active(model: type[Grant] | type[Connection], **ends: str) -> QuerySet[Any]:
        held = model.objects.filter(status=Status.ACTIVE, **{end: OuterRef(path) for end, path in ends.items()})
        # What a reduction left is narrow by construction; only another version can hold more than was kept.
        return held.exclude(pk=left_behind)

    server = Server.objects.filter(pk=OuterRef("item__server"), lifecycle=Lifecycle.ACTIVE)
    of_agent = active(Grant, agent="item__agent")
    grants = active(Grant, agent="item__grant__agent", server="item__grant__server")
    connections = active(Connection, server="item__connection__server", system="item__connection__system")
    again = (
        Exists(server.exclude(Exists(anew.filter(server=OuterRef("pk")))))
        | Exists(of_agent.exclude(Exists(anew.filter(Q(grant=OuterRef("pk")) | Q(agent=OuterRef("agent"))))))
        | Exists(grants.exclude(Exists(anew.filter(grant=OuterRef("pk")))))
        | Exists(connections.exclude(Exists(anew.filter(connection=OuterRef("pk")))))
    )
    pairs = (
        Q(item__server=OuterRef("item__server"))
        | Q(item__agent=OuterRef("item__agent"))
        | Q(item__grant__agent=OuterRef("item__grant__agent"), item__grant__server=OuterRef("item__grant__server"))
        | Q(
            item__connection__server=OuterRef("item__connection__server"),
            item__connection__system=OuterRef("item__connection__system"),
        )
    )
    newer = Remediation.objects.filter(pairs, created_at__gt=OuterRef("created_at"))
    suspects = Remediation.objects.filter(again, ~Exists(newer), state=State.VERIFIED).order_by("pk")
    if server_ids is not None:
        calling = Grant.objects.filter(server__in=server_ids, status=Status.ACTIVE).values("agent")
        suspects = suspects.filter(Q(item__rests_on__in=server_ids) | Q(item__agent__in=calling))
    return suspects


def _store(
    actor: Actor, row: Remediation, source: str, confirmed: bool, observed_at: datetime, proof: str
) -> Verification:
    seen = Verification.objects.create(
        remediation=row,
        source=source,
        confirmed=confirmed,
        observed_at=observed_at,
        proof=proof[:2000],
        by=actor.user,
    )
    record(
        actor=actor,
        act="remediation.observed",
        subject=row,
        data={"source": source, "confirmed": confirmed, "observed_at": observed_at, "proof": seen.proof},
    )
    return seen


@transaction.atomic
def go_on_after_regress(*, remediation_id: UUID, actor: Actor = WATCHMAN) -> bool:
    """What came back is cut again, or certified anew and done with. True when it moved.

    What somebody restored in the registry waits for the review that was called for, or for a person's retry: the
    registry does not fight people. What merely shows outside goes to its channel again.
    """
    require(actor, "reviews.carry_out")
    row = locked_remediation(remediation_id)
    if row.state != State.REGRESSED or contradicting(row):
        return False
    if certified_anew(row):
        move(actor, row, State.WITHDRAWN, because="certified anew")
        row.save()
        settle(actor, row)
    else:
        send(actor, row, because="seen again")
    return True


def certified_anew(row: Remediation) -> bool:
    """Whether a newer signature certifies what this one took away."""
    item, anew = row.item, Certificate.objects.signed_after(row.created_at)
    subject = item.subject
    match item.kind:
        case SubjectKind.SERVER:
            return anew.filter(server=item.server_id).exists()
        case SubjectKind.AGENT:
            return anew.filter(Q(agent=item.agent_id) | Q(grant__agent=item.agent_id)).exists()
        case SubjectKind.GRANT:
            return anew.filter(grant__agent=subject.agent_id, grant__server=subject.server_id).exists()
    return anew.filter(connection__server=subject.server_id, connection__system=subject.system_id).exists()
