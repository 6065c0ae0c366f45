"""What reviews took away: the list, one remediation with its acts, and the exceptions from them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import messages
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views import View
from django.views.decorators.http import require_safe

from registry.audit.models import Event
from registry.audit.queries import events_about
from registry.core import clock
from registry.core.errors import NotFound
from registry.core.filtering import chosen
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.independence import bars
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require
from registry.reviews import executors, services
from registry.reviews.filters import ExceptionFilter, RemediationFilter
from registry.reviews.models import Challenge, ExceptionRecord, Remediation, Verification
from registry.reviews.remediation_forms import (
    ConfirmForm,
    EndExceptionForm,
    ExceptionAnswerForm,
    ExceptionForm,
    ObjectionAnswerForm,
    ObjectionForm,
    ReportForm,
    RetryForm,
    VersionedForm,
)
from registry.reviews.services.exceptions import last_day
from registry.reviews.services.verification import Judges, deciders, judges
from registry.reviews.states import REMEDIATION, SETTLED, RemediationState
from registry.reviews.views.campaigns import Step

State = RemediationState
CHANNELS = {
    executors.REGISTRY: gettext_lazy("Nobody: the registry alone"),
    executors.MANUAL: gettext_lazy("Somebody outside, who reports it"),
}


@require_safe
def remediations(request: Request) -> HttpResponse:
    require(request.actor, "reviews.view")
    queryset = (
        Remediation.objects.visible_to(request.actor)
        .select_related("item__campaign", "decision__work_item__reviewer")
        .defer("item__snapshot")
    )
    filterset = RemediationFilter(request.GET, queryset=queryset, request=request)
    rows = filterset.qs if filterset.is_valid() else queryset.none()
    return render(
        request,
        "reviews/remediations.html",
        {
            "nav": "reviews",
            "filter": filterset,
            "chosen": chosen(filterset, request),
            "page": keyset_page(rows, request, count=True),
            "settled": SETTLED,
        },
    )


@require_safe
def exceptions(request: Request) -> HttpResponse:
    require(request.actor, "reviews.view")
    queryset = (
        ExceptionRecord.objects.visible_to(request.actor)
        .select_related("remediation__item__campaign", "requested_by", "approver")
        .defer("remediation__item__snapshot")
    )
    filterset = ExceptionFilter(request.GET, queryset=queryset, request=request)
    rows = filterset.qs if filterset.is_valid() else queryset.none()
    return render(
        request,
        "reviews/exceptions.html",
        {
            "nav": "reviews",
            "filter": filterset,
            "chosen": chosen(filterset, request),
            "page": keyset_page(rows, request, count=True),
            "may_decide": allows(request.actor, "reviews.decide_exception"),
        },
    )


def visible_remediation(request: Request, pk: UUID) -> Remediation:
    """The remediation, or `NotFound`: what one may not see does not exist."""
    require(request.actor, "reviews.view")
    found: Remediation | None = (
        Remediation.objects.visible_to(request.actor)
        .filter(pk=pk)
        .select_related("item__campaign__owner", "decision__work_item__reviewer")
        .prefetch_related(
            Prefetch("verifications", queryset=Verification.objects.select_related("by")),
            Prefetch("challenges", queryset=Challenge.objects.select_related("by", "decided_by")),
            Prefetch("exceptions", queryset=ExceptionRecord.objects.select_related("requested_by", "approver")),
        )
        .first()
    )
    if found is None:
        raise NotFound
    return found


@require_safe
def remediation(request: Request, pk: UUID) -> HttpResponse:
    row = visible_remediation(request, pk)
    context = {
        "nav": "reviews",
        "remediation": row,
        "steps": steps_of(row),
        "happened": list(happened(row)),
        "there": executors.contradicting(row) if row.state not in (State.PLANNED, State.CHALLENGE) else [],
        "objection": next((each for each in row.challenges.all() if each.upheld is None), None),
        "exception": next((each for each in row.exceptions.all() if each.ended_at is None), None),
        "channel": CHANNELS.get(row.channel, row.channel),
        **may(request, row),
    }
    return render(request, "reviews/remediation.html", context)


def may(request: Request, row: Remediation) -> dict[str, Any]:
    """Which acts the page offers; the services ask again."""
    actor, now = request.actor, clock.now()
    barred = bars(actor.user_id, row)
    if actor.user_id in deciders(row.item):
        barred = [*barred, _("decided on it")]
    open_exception = any(each.ended_at is None for each in row.exceptions.all())
    confirmable = row.state in (State.DISPATCHED, State.VERIFYING, State.NOT_VERIFIED, State.VERIFIED)
    return {
        "barred": barred,
        "may_confirm": confirmable and not barred and allows(actor, "reviews.confirm_remediation", row),
        "would_confirm": confirmable and bool(barred) and allows(actor, "reviews.confirm_remediation", row),
        "may_report": row.state == State.DISPATCHED and allows(actor, "reviews.report_remediation", row),
        "may_retry": row.state in (State.NOT_VERIFIED, State.REGRESSED, State.DISPATCHED)
        and allows(actor, "reviews.retry_remediation", row),
        "may_object": row.state == State.CHALLENGE
        and row.challenge_until is not None
        and row.challenge_until > now
        and all(each.upheld is not None for each in row.challenges.all())
        and allows(actor, "reviews.challenge_remediation", row),
        "may_except": not open_exception
        and REMEDIATION.allows(row.state, State.EXCEPTION)
        and allows(actor, "reviews.request_exception", row),
        "may_decide_exception": not barred and allows(actor, "reviews.decide_exception"),
        "may_decide_objection": not barred
        and any(allows(actor, "reviews.decide_challenge", each) for each in row.challenges.all()),
    }


# --- Where it is, and how it came there ------------------------------------------------------------------


_PATH = (State.PLANNED, State.CHALLENGE, State.DISPATCHED, State.REPORTED_DONE, State.VERIFIED)
_WORDS = {
    State.PLANNED: gettext_lazy("Decided"),
    State.CHALLENGE: gettext_lazy("Open to objections"),
    State.DISPATCHED: gettext_lazy("Carried out"),
    State.REPORTED_DONE: gettext_lazy("Reported done"),
    State.VERIFIED: gettext_lazy("Seen to be gone"),
}


def steps_of(row: Remediation) -> list[Step]:
    """The way of a remediation and where it is; what went wrong stands in the place it was to reach."""
    place = {
        State.VERIFYING: 4,
        State.NOT_VERIFIED: 4,
        State.REGRESSED: 4,
        State.EXCEPTION: 4,
        State.WITHDRAWN: 1 if row.dispatched_at is None else 4,
    }.get(State(row.state)) or _PATH.index(State(row.state))
    wrong = row.state in (State.NOT_VERIFIED, State.REGRESSED)
    steps = []
    for number, state in enumerate(_PATH):
        if state == State.CHALLENGE and row.challenge_until is None:
            continue
        look = "done" if number < place else "now" if number == place else "todo"
        if number == place and (wrong or row.state == State.VERIFIED):
            look = "failed" if wrong else "done"
        named = number == place and row.state != state
        steps.append(Step(_WORDS[state], look, str(row.get_state_display()) if named else ""))
    return steps


@dataclass(frozen=True)
class Happened:
    """One event as the page tells it; `words` are what a person or channel said."""

    event: Event
    words: str


_SAID = ("reason", "answer", "because", "seen", "proof", "failure", "reference", "compensating_control")


def happened(row: Remediation) -> Iterator[Happened]:
    """The newest event first. What was seen has its own place on the page."""
    story = events_about("remediation", row.pk).exclude(act="remediation.observed")
    for event in story.order_by("-at", "-id")[:200]:
        said = [str(event.data[name]) for name in _SAID if event.data.get(name)]
        yield Happened(event, " · ".join(said))


# --- Acts with a form ------------------------------------------------------------------------------------


class RemediationAct(View, ABC):
    """One form about one remediation: its page, its service call, and back to the remediation."""

    request: Request

    form_class: ClassVar[type[VersionedForm]] = VersionedForm
    permission: ClassVar[str] = ""
    title: ClassVar[str | Promise] = ""
    intro: ClassVar[str | Promise] = ""
    button: ClassVar[str | Promise] = ""
    told: ClassVar[str | Promise] = ""
    icon: ClassVar[str] = "check"
    destructive: ClassVar[bool] = False

    def thing(self, pk: UUID) -> Any:
        """What is acted on; a remediation unless a subclass says otherwise."""
        return visible_remediation(self.request, pk)

    def seen(self, manager: Any, pk: UUID, *related: str) -> Any:
        """What hangs on a remediation, when the reader may see it; else `NotFound`."""
        require(self.request.actor, "reviews.view")
        visible = manager.visible_to(self.request.actor).select_related(*related, "remediation__item__campaign")
        found = visible.filter(pk=pk).first()
        if found is None:
            raise NotFound
        return found

    def remediation_of(self, thing: Any) -> Remediation:
        found: Remediation = thing if isinstance(thing, Remediation) else thing.remediation
        return found

    def make_form(self, thing: Any, data: Any = None) -> VersionedForm:
        return self.form_class(data, initial={"version": thing.etag})

    @abstractmethod
    def act(self, thing: Any, **facts: Any) -> Any: ...

    def judged_by(self, thing: Any) -> Judges | None:
        """Who may do this where it takes somebody independent; None where it does not."""
        return None

    def warn(self, thing: Any) -> str:
        """What to know before one does it; empty where there is nothing."""
        return ""

    def _page(self, thing: Any, form: VersionedForm) -> HttpResponse:
        row = self.remediation_of(thing)
        context: dict[str, Any] = {"nav": "reviews", "remediation": row, "page_act": self, "thing": thing}
        context["warning"] = self.warn(thing)
        judged = self.judged_by(thing)
        # Who is barred reads why and whom to ask; a form would only refuse what they type.
        if judged is not None and self.request.actor.user in judged.barred:
            context |= {"barred": judged.barred[self.request.actor.user], "instead": judged.in_words}
        return answer(self.request, "reviews/remediation_act.html", form, context)

    def get(self, request: Request, pk: UUID) -> HttpResponse:
        thing = self.thing(pk)
        require(request.actor, self.permission, thing)
        return self._page(thing, self.make_form(thing))

    def post(self, request: Request, pk: UUID) -> HttpResponse:
        thing = self.thing(pk)
        form = self.make_form(thing, request.POST)
        if not form.is_valid():
            # What is wrong with the form is told to those it is for.
            require(request.actor, self.permission, thing)

        def act(*, version: str, **facts: Any) -> Any:
            return self.act(thing, actor=request.actor, expected_version=version or None, **facts)

        if run(form, act) is None:
            return self._page(thing, form)
        messages.success(request, str(self.told))
        return redirect("reviews:remediation", self.remediation_of(thing).pk)


class Confirm(RemediationAct):
    """A second, independent person says whether it took effect."""

    form_class = ConfirmForm
    permission = "reviews.confirm_remediation"
    title = gettext_lazy("Did it take effect?")
    intro = gettext_lazy(
        "The registry has carried it out. That somebody else has looked whether it works is what makes it verified."
    )
    button = gettext_lazy("Record what I saw")
    told = gettext_lazy("Your observation is recorded.")
    icon = "badge-check"

    def judged_by(self, thing: Remediation) -> Judges:
        return judges(thing)

    def act(self, thing: Remediation, **facts: Any) -> Remediation:
        return services.confirm_remediation(remediation=thing, **facts)


class Report(RemediationAct):
    form_class = ReportForm
    permission = "reviews.report_remediation"
    title = gettext_lazy("It is done")
    intro = gettext_lazy("From then on somebody else has to see that the access is really gone.")
    button = gettext_lazy("Report it done")
    told = gettext_lazy("Reported. Somebody independent now has to look.")

    def act(self, thing: Remediation, **facts: Any) -> Remediation:
        return services.report_done(remediation=thing, **facts)


class Retry(RemediationAct):
    form_class = RetryForm
    permission = "reviews.retry_remediation"
    title = gettext_lazy("Carry it out again")
    intro = gettext_lazy("The registry takes away what it still holds. If somebody outside has to act too, say what.")
    button = gettext_lazy("Carry it out")
    told = gettext_lazy("It is carried out again.")
    icon = "refresh-cw"
    destructive = True

    def make_form(self, thing: Remediation, data: Any = None) -> VersionedForm:
        brought = [(name, CHANNELS.get(name, name.replace("_", " ").capitalize())) for name in executors.channels()]
        initial = {"version": thing.etag, "channel": thing.channel, "instruction": thing.instruction}
        return RetryForm(data, initial=initial, channels=brought)

    def act(self, thing: Remediation, **facts: Any) -> Remediation:
        if facts["channel"] == thing.channel:
            # Named as it is: not another way. A channel that has its errand is then not asked twice.
            facts["channel"] = ""
        return services.retry_remediation(remediation=thing, **facts)


class Object(RemediationAct):
    form_class = ObjectionForm
    permission = "reviews.challenge_remediation"
    title = gettext_lazy("Object")
    intro = gettext_lazy("Nothing is taken away before somebody independent has decided on your objection.")
    button = gettext_lazy("Object")
    told = gettext_lazy("Your objection is recorded, and those who decide on it are told.")
    icon = "messages-square"

    def act(self, thing: Remediation, **facts: Any) -> Challenge:
        return services.challenge_remediation(remediation=thing, **facts)


class Except(RemediationAct):
    form_class = ExceptionForm
    permission = "reviews.request_exception"
    title = gettext_lazy("Ask for an exception")
    intro = gettext_lazy("Access that should be gone may stay for a time, when security agrees. It ends by itself.")
    button = gettext_lazy("Ask for it")
    told = gettext_lazy("Asked. Security is told.")
    icon = "timer"

    def make_form(self, thing: Remediation, data: Any = None) -> ExceptionForm:
        return ExceptionForm(data, initial={"version": thing.etag}, last_day=last_day(thing))

    def warn(self, thing: Remediation) -> str:
        """Nobody approves what they asked for themselves: said before somebody asks in vain."""
        found = judges(thing, besides={"asks for it": self.request.actor.user_id})
        if found.able:
            return ""
        others = [
            f"{person.name} {_(' and ').join(why)}"
            for person, why in found.barred.items()
            if person.pk != self.request.actor.user_id
        ]
        words = _("If you ask, nobody of security can approve it: you ask for it yourself.")
        if others:
            words = _("If you ask, nobody of security can approve it: you ask for it yourself, and %(others)s.") % {
                "others": "; ".join(others)
            }
        help_ = _("Let somebody else ask, or an administrator give somebody independent the role security.")
        return f"{words} {help_}" if "security" in self.request.actor.roles else f"{found.in_words}"

    def act(self, thing: Remediation, **facts: Any) -> ExceptionRecord:
        return services.request_exception(remediation=thing, **facts)


class AnswerObjection(RemediationAct):
    form_class = ObjectionAnswerForm
    permission = "reviews.decide_challenge"
    title = gettext_lazy("Decide on the objection")
    button = gettext_lazy("Decide")
    told = gettext_lazy("Decided; whoever objected is told.")
    icon = "gavel"

    def thing(self, pk: UUID) -> Challenge:
        found: Challenge = self.seen(Challenge.objects, pk, "by")
        return found

    def act(self, thing: Challenge, **facts: Any) -> Challenge:
        return services.decide_challenge(challenge=thing, **facts)


class ExceptionAct(RemediationAct):
    def thing(self, pk: UUID) -> ExceptionRecord:
        found: ExceptionRecord = self.seen(ExceptionRecord.objects, pk, "requested_by")
        return found


class AnswerException(ExceptionAct):
    form_class = ExceptionAnswerForm
    permission = "reviews.decide_exception"
    title = gettext_lazy("Decide on the exception")
    button = gettext_lazy("Decide")
    told = gettext_lazy("Decided; whoever asked is told.")
    icon = "gavel"

    def judged_by(self, thing: ExceptionRecord) -> Judges:
        return judges(thing.remediation, besides={"asked for it": thing.requested_by_id})

    def act(self, thing: ExceptionRecord, **facts: Any) -> ExceptionRecord:
        approved, reason = facts.pop("approved"), facts.pop("reason")
        if approved:
            return services.approve_exception(exception=thing, **facts)
        return services.refuse_exception(exception=thing, reason=reason, **facts)


class EndException(ExceptionAct):
    form_class = EndExceptionForm
    permission = "reviews.end_exception"
    title = gettext_lazy("End the exception")
    intro = gettext_lazy("The access is taken away now, before the exception would have ended by itself.")
    button = gettext_lazy("End it")
    told = gettext_lazy("The exception has ended.")
    icon = "circle-x"
    destructive = True

    def act(self, thing: ExceptionRecord, **facts: Any) -> ExceptionRecord:
        return services.end_exception(exception=thing, **facts)
