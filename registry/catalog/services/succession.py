"""Who answers for what, once its owner left: seen, offered, taken over by a yes of whoever takes it.

Nobody makes somebody else accountable: a proposal is a question, and only its acceptance changes an owner. The deputy
of a server was named to stand in and does so at once, in the interim, without becoming the owner.

Rows are locked in one order: vacancy, proposal, thing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from registry.accounts.models import User
from registry.audit.services import record
from registry.catalog.events import AgentChanged, OwnerChanged, SuccessionProposed, SystemChanged
from registry.catalog.models import Agent, Proposal, Server, System, Vacancy
from registry.catalog.services.shared import given_reason, note_change, only_reads
from registry.catalog.states import PROPOSAL, VACANCY, Lifecycle, ProposalState, Standing, VacancyState
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.events import each_once, publish
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets

SUCCESSION = Actor.system("succession")
KINDS: dict[str, type[Server] | type[System] | type[Agent]] = {"server": Server, "system": System, "agent": Agent}
MOST_AT_ONCE = 500
Thing = Server | System | Agent


# --- The rule: whom the registry asks --------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One line of the rule: a name, and where the person stands."""

    rule: Proposal.Rule
    who: Callable[[Thing, User], User | None]


ORDER: Sequence[Step] = (
    Step(Proposal.Rule.DEPUTY, lambda thing, _left: thing.deputy if isinstance(thing, Server) else None),
    Step(Proposal.Rule.MANAGER, lambda _thing, left: left.manager),
    Step(Proposal.Rule.TEAM_LEAD, lambda thing, _left: thing.team.lead if thing.team is not None else None),
)
"""Whom the registry asks first; who cannot or does not want to is passed over."""


def unfit(successor: User, vacancy: Vacancy) -> str:
    """Why this person cannot be asked to take it over; empty when they can."""
    if not successor.is_active:
        return f"{successor} is no longer active."
    if not successor.roles:
        return f"{successor} has no role here yet."
    if successor.only_reads:
        return only_reads(successor)
    seen = type(vacancy.thing).objects.visible_to(Actor.person(successor))
    if not seen.filter(pk=vacancy.thing.pk).exists():
        return f"{successor} may not see it; it is confidential."
    return ""


def first_choice(vacancy: Vacancy) -> tuple[Proposal.Rule, User] | None:
    """The next person by the rule who was not asked about this vacancy yet."""
    asked = set(vacancy.proposals.values_list("successor_id", flat=True))
    for step in ORDER:
        person = step.who(vacancy.thing, vacancy.former_owner)
        if person is not None and person.pk not in asked and not unfit(person, vacancy):
            return step.rule, person
    return None


# --- Without an owner ------------------------------------------------------------------------------------


def open_vacancies(*, user_id: UUID | None = None, actor: Actor = SUCCESSION) -> int:
    """Write down what is without an owner since somebody left, and ask the first by the rule. Returns how many.

    With `user_id` only what was theirs. Safe to run twice: what is open already is left alone.
    """
    require(actor, "catalog.keep_vacancies")
    opened = 0
    for kind, model in KINDS.items():
        still = Vacancy.objects.open().filter(**{kind: OuterRef("pk")})
        gone = model.objects.filter(Q(owner__is_active=False), _in_use(model)).exclude(Exists(still))
        if user_id is not None:
            gone = gone.filter(owner=user_id)
        # A leaver's successor is asked about all of it at once, not once for each thing.
        with each_once():
            for pk in list(gone.order_by("pk").values_list("pk", flat=True)):
                opened += _open(actor, kind, pk)
    return opened


def _in_use(model: type[Server] | type[System] | type[Agent]) -> Q:
    return ~Q(lifecycle=Lifecycle.RETIRED) if model is Server else ~Q(standing=Standing.RETIRED)


@transaction.atomic
def _open(actor: Actor, kind: str, pk: UUID) -> bool:
    model = KINDS[kind]
    thing = model.objects.select_for_update(of=("self",)).get(pk=pk)
    owner = thing.owner
    if owner is None or owner.is_active or Vacancy.objects.open().filter(**{kind: thing}).exists():
        return False
    deputy = thing.deputy if isinstance(thing, Server) else None
    interim = deputy if deputy is not None and deputy.is_active else None
    vacancy = Vacancy(former_owner=owner, interim=interim, **{kind: thing})
    vacancy.save(force_insert=True)
    record(
        actor=actor,
        act=f"{kind}.orphaned",
        subject=thing,
        data={"owner": str(owner.pk), "left_at": owner.left_at, "interim": str(interim.pk) if interim else None},
    )
    _ask_next(actor, vacancy)
    return True


def _ask_next(actor: Actor, vacancy: Vacancy) -> Proposal | None:
    choice = first_choice(vacancy)
    return _propose(actor, vacancy, choice[1], choice[0], "") if choice is not None else None


def settle_vacancies(*, actor: Actor = SUCCESSION) -> int:
    """End vacancies of what got another owner otherwise, or retired; ask anew where nobody is asked. Returns both."""
    require(actor, "catalog.keep_vacancies")
    done = 0
    unasked = ~Exists(Proposal.objects.waiting().filter(vacancy=OuterRef("pk")))
    retired = Q(server__lifecycle=Lifecycle.RETIRED)
    for kind in ("system", "agent"):
        retired |= Q(**{f"{kind}__standing": Standing.RETIRED})
    gone = Q(proposals__state=ProposalState.PROPOSED, proposals__successor__is_active=False)
    owned = Q()
    for kind in KINDS:
        owned |= Q(**{f"{kind}__owner__is_active": True})
    rows = Vacancy.objects.open().filter(unasked | retired | gone | owned).distinct()
    for pk in list(rows.order_by("pk").values_list("pk", flat=True)):
        done += _settle(actor, pk)
    return done


@transaction.atomic
def _settle(actor: Actor, pk: UUID) -> bool:
    vacancy = _locked(pk)
    if vacancy.state != VacancyState.OPEN:
        return False
    if _is_retired(vacancy.thing):
        _close(actor, vacancy, VacancyState.CLOSED, "It was retired.")
        return True
    if settle_owner(actor, vacancy.thing):
        return True
    for stale in vacancy.proposals.select_for_update().filter(state=ProposalState.PROPOSED, successor__is_active=False):
        _answer(actor, stale, ProposalState.WITHDRAWN, "Whoever was asked has left.")
    if vacancy.proposals.filter(state=ProposalState.PROPOSED).exists():
        return False
    return _ask_next(actor, vacancy) is not None


def settle_owner(actor: Actor, thing: Thing) -> bool:
    """For whoever changes an owner otherwise: a vacancy ends when somebody else, who is here, answers for the thing.

    The caller holds the thing. A former owner who came back has to say yes to it like everybody else.
    """
    vacancy = Vacancy.objects.select_for_update(of=("self",)).open().filter(**{thing.subject_type: thing}).first()
    owner = thing.owner
    if vacancy is None or owner is None or not owner.is_active or owner.pk == vacancy.former_owner_id:
        return False
    if isinstance(thing, Server) and thing.owner_accepted_at is None:
        return False
    _close(actor, vacancy, VacancyState.FILLED, f"{owner} owns it.")
    return True


def _is_retired(thing: Thing) -> bool:
    return (thing.lifecycle if isinstance(thing, Server) else thing.standing) == Standing.RETIRED


def _locked(pk: UUID) -> Vacancy:
    related = ("server__team__lead", "system__team__lead", "agent__team__lead", "former_owner__manager")
    found: Vacancy = Vacancy.objects.select_for_update(of=("self",)).select_related(*related).get(pk=pk)
    return found


def _close(actor: Actor, vacancy: Vacancy, state: VacancyState, because: str) -> None:
    VACANCY.move(vacancy, state, field="state")
    vacancy.ended_at, vacancy.ended_because = clock.now(), because[:200]
    vacancy.save()
    for waiting in vacancy.proposals.select_for_update().filter(state=ProposalState.PROPOSED):
        _answer(actor, waiting, ProposalState.WITHDRAWN, because)
    publish(OwnerChanged(kind=vacancy.kind, thing_id=vacancy.thing.pk))


# --- Asking ----------------------------------------------------------------------------------------------


@transaction.atomic
def propose_successor(*, actor: Actor, vacancies: Iterable[Vacancy], successor: User, note: str = "") -> list[Proposal]:
    """Ask somebody to take these over, all or none. Who was asked before and has not answered is asked no longer.

    Raises `Invalid` (successor, vacancies) for somebody who cannot take one of them, `Conflict` for what is settled.
    """
    chosen = sorted({vacancy.pk for vacancy in vacancies})
    if not 1 <= len(chosen) <= MOST_AT_ONCE:
        raise Invalid(fields={"vacancies": [f"Choose at least one, and at most {MOST_AT_ONCE} at once."]})
    refuse_secrets({"note": note})
    made = []
    for pk in chosen:
        vacancy = _locked(pk)
        require(actor, "catalog.propose_successor", vacancy)
        if vacancy.state != VacancyState.OPEN:
            raise Conflict(f"{vacancy.thing} has an owner again.")
        if reason := unfit(successor, vacancy):
            raise Invalid(fields={"successor": [f"{vacancy.thing}: {reason}"]})
        for waiting in vacancy.proposals.select_for_update().filter(state=ProposalState.PROPOSED):
            if waiting.successor_id == successor.pk:
                raise Conflict(f"{successor} is asked about {vacancy.thing} already.")
            _answer(actor, waiting, ProposalState.WITHDRAWN, f"{successor} is asked instead.")
        made.append(_propose(actor, vacancy, successor, Proposal.Rule.BY_HAND, note.strip()))
    return made


def _propose(actor: Actor, vacancy: Vacancy, successor: User, rule: Proposal.Rule, note: str) -> Proposal:
    proposal = Proposal(vacancy=vacancy, successor=successor, proposed_by=actor.user, rule=rule, note=note)
    proposal.save(force_insert=True)
    record(
        actor=actor,
        act=f"{vacancy.kind}.succession_proposed",
        subject=vacancy.thing,
        data={"successor": str(successor.pk), "rule": rule, "former_owner": str(vacancy.former_owner_id), "note": note},
    )
    publish(SuccessionProposed(former_owner_id=vacancy.former_owner_id, successor_id=successor.pk))
    return proposal


def offer_back(*, user_id: UUID, actor: Actor = SUCCESSION) -> int:
    """Ask somebody who came back whether they want back what nobody took over meanwhile. Returns how many."""
    require(actor, "catalog.keep_vacancies")
    rows = Vacancy.objects.open().filter(former_owner=user_id, former_owner__is_active=True)
    return sum(_offer_back(actor, pk) for pk in list(rows.order_by("pk").values_list("pk", flat=True)))


@transaction.atomic
def _offer_back(actor: Actor, pk: UUID) -> bool:
    vacancy = _locked(pk)
    if vacancy.state != VacancyState.OPEN or unfit(vacancy.former_owner, vacancy):
        return False
    waiting = vacancy.proposals.select_for_update().filter(state=ProposalState.PROPOSED).first()
    if waiting is not None:
        if waiting.successor_id == vacancy.former_owner_id or waiting.proposed_by_id is not None:
            return False  # whom a person chose to ask stays asked
        _answer(actor, waiting, ProposalState.WITHDRAWN, f"{vacancy.former_owner} came back and is asked first.")
    _propose(actor, vacancy, vacancy.former_owner, Proposal.Rule.FORMER_OWNER, "")
    return True


# --- Answering -------------------------------------------------------------------------------------------


@transaction.atomic
def accept_proposals(
    *, actor: Actor, proposals: Iterable[Proposal], deputy: User | None = None, expected_version: str | None = None
) -> list[Proposal]:
    """Take these over, all or none: from now on the actor answers for them.

    A deputy who becomes the owner leaves a place: `deputy` fills it, else whoever leads the team or is the successor's
    manager. Raises `Invalid` (deputy) when neither is there and the server is in use.
    """
    return [_accept(actor, pk, deputy, expected_version) for pk in _chosen(proposals)]


def _chosen(proposals: Iterable[Proposal]) -> list[UUID]:
    pks = sorted({proposal.pk for proposal in proposals})
    if not 1 <= len(pks) <= MOST_AT_ONCE:
        raise Invalid(fields={"proposals": [f"Choose at least one, and at most {MOST_AT_ONCE} at once."]})
    return pks


def _locked_proposal(actor: Actor, pk: UUID, permission: str, expected_version: str | None) -> Proposal:
    vacancy = _locked(Proposal.objects.values_list("vacancy_id", flat=True).get(pk=pk))
    rows = Proposal.objects.select_for_update(of=("self",)).select_related("successor__manager")
    proposal: Proposal = rows.get(pk=pk)
    proposal.vacancy = vacancy
    require(actor, permission, proposal)
    proposal.check_version(expected_version)
    return proposal


def _accept(actor: Actor, pk: UUID, deputy: User | None, expected_version: str | None) -> Proposal:
    proposal = _locked_proposal(actor, pk, "catalog.answer_proposal", expected_version)
    vacancy, successor = proposal.vacancy, proposal.successor
    PROPOSAL.check(proposal.state, ProposalState.ACCEPTED)
    model = KINDS[vacancy.kind]
    thing = model.objects.select_for_update(of=("self",)).get(pk=vacancy.thing.pk)
    if _is_retired(thing):
        raise Conflict(f"{thing} is retired.")
    if reason := unfit(successor, vacancy):
        raise Conflict(reason)
    before = thing.owner_id
    data = {"before": str(before) if before else None, "after": str(successor.pk), "rule": proposal.rule}
    if isinstance(thing, Server):
        named = _deputy_for(thing, successor, deputy)
        data["deputy"] = str(named.pk) if named else None
        thing.owner, thing.deputy, thing.owner_accepted_at = successor, named, clock.now()
        if thing.operator_id in (successor.pk, named.pk if named else None):
            thing.operator = None
        note_change(actor, thing, "server.ownership_taken_over", data)
    else:
        thing.owner = successor
        thing.save()
        record(actor=actor, act=f"{vacancy.kind}.ownership_taken_over", subject=thing, data=data)
        publish(AgentChanged(agent_id=thing.pk) if isinstance(thing, Agent) else SystemChanged(system_id=thing.pk))
    _answer(actor, proposal, ProposalState.ACCEPTED, "")
    _close(actor, vacancy, VacancyState.FILLED, f"{successor} took it over.")
    return proposal


def _deputy_for(server: Server, successor: User, wanted: User | None) -> User | None:
    """Who stands in from now on: whoever was named, else the present deputy, else the team's lead or the manager."""
    if wanted is not None:
        if wanted == successor or not wanted.is_active:
            raise Invalid(fields={"deputy": ["Name somebody active other than yourself."]})
        if wanted.only_reads:
            raise Invalid(fields={"deputy": [only_reads(wanted)]})
        return wanted
    lead = server.team.lead if server.team is not None else None
    for person in (server.deputy, lead, successor.manager):
        if person is not None and person.is_active and not person.only_reads and person != successor:
            return person
    if server.lifecycle == Lifecycle.DRAFT:
        return None
    raise Invalid(fields={"deputy": [f"{server.label} needs a deputy other than you; name one."]})


@transaction.atomic
def decline_proposals(
    *, actor: Actor, proposals: Iterable[Proposal], reason: str, expected_version: str | None = None
) -> list[Proposal]:
    """Say no to these. The registry asks the next by its rule."""
    reason = given_reason(reason)
    declined = []
    for pk in _chosen(proposals):
        proposal = _locked_proposal(actor, pk, "catalog.answer_proposal", expected_version)
        _answer(actor, proposal, ProposalState.DECLINED, reason)
        _ask_next(SUCCESSION, proposal.vacancy)
        declined.append(proposal)
    return declined


@transaction.atomic
def withdraw_proposal(
    *, actor: Actor, proposal: Proposal, reason: str, expected_version: str | None = None
) -> Proposal:
    """Ask no longer. Unless somebody else is proposed meanwhile, the next sweep asks the next by the rule."""
    reason = given_reason(reason)
    found = _locked_proposal(actor, proposal.pk, "catalog.withdraw_proposal", expected_version)
    return _answer(actor, found, ProposalState.WITHDRAWN, reason)


def _answer(actor: Actor, proposal: Proposal, state: ProposalState, words: str) -> Proposal:
    PROPOSAL.move(proposal, state, field="state")
    proposal.answer, proposal.answered_at = words[:1000], clock.now()
    proposal.save()
    vacancy = proposal.vacancy
    record(
        actor=actor,
        act=f"{vacancy.kind}.succession_{state}",
        subject=vacancy.thing,
        data={"successor": str(proposal.successor_id), "reason": words},
    )
    return proposal
