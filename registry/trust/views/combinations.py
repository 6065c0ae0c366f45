"""Toxic combinations: what security looks for, who has it and through which paths, and changing the list."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views import View
from django.views.decorators.http import require_safe

from registry.catalog.forms import ReasonForm
from registry.catalog.models import DataClass, System, ToolClass
from registry.core.errors import Invalid, NotFound
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.permissions import allows, require
from registry.trust import services
from registry.trust.forms import CombinationForm
from registry.trust.labels import UNSEEN, Label, ends_of, labels
from registry.trust.models import Combination, Connection
from registry.trust.queries import ask
from registry.trust.queries.answers import CombinationMatch
from registry.trust.question import Question, Ref, key_of
from registry.trust.views.shared import NAV, AskedDay, waiting_for_decision

SHOWN = 3
"""Agents in sight on the list; up to `PAGE` are folded beneath, and the page of a combination shows the others."""
PAGE = 20
TOGETHER = (("tool_classes", "access"), ("system_kinds", "open_world"), ("data_classes",))
"""What a leg asks for: a deed, a place, data. Of each, one of the conditions is enough."""
CONDITIONS: Mapping[str, tuple[str | Promise, Mapping[Any, Any]]] = {
    "tool_classes": (gettext_lazy("tool"), dict(ToolClass.choices)),
    "system_kinds": (gettext_lazy("system"), dict(System.Kind.choices)),
    "data_classes": (gettext_lazy("data"), dict(DataClass.choices)),
    "access": (gettext_lazy("access"), dict(Connection.Access.choices)),
}


@dataclass(frozen=True)
class MetLeg:
    """A leg and one path that meets it; a step is None with words for what may not be seen."""

    label: str
    steps: Sequence[tuple[Label | None, str | Promise]]


@dataclass(frozen=True)
class Match:
    agent: Label
    url: str
    legs: Sequence[MetLeg]


def _named(found: Sequence[CombinationMatch]) -> list[Match]:
    """With names, in one statement per kind."""
    refs: set[Ref] = {("agent", match.agent) for match in found}
    refs |= {end for match in found for leg in match.legs for end, _kind in ends_of(leg.path) if end}
    known = labels(refs)
    return [
        Match(
            agent=known[("agent", match.agent)],
            url=f"{reverse('trust:explore')}?{Question(ask='reach', of=key_of(('agent', match.agent))).query()}",
            legs=[
                MetLeg(leg.label, [(known.get(end) if end else None, UNSEEN[kind]) for end, kind in ends_of(leg.path)])
                for leg in match.legs
            ],
        )
        for match in found
        if ("agent", match.agent) in known
    ]


def _legs(combination: Combination) -> list[dict[str, Any]]:
    """What each leg asks, as words."""
    return [
        {
            "label": leg["label"],
            "conditions": [
                [_condition(name, leg[name]) for name in names if leg.get(name)]
                for names in TOGETHER
                if any(leg.get(name) for name in names)
            ],
        }
        for leg in combination.legs
    ]


def _condition(name: str, values: Any) -> str:
    if name == "open_world":
        return _("a tool open to the world")
    word, words = CONDITIONS[name]
    return f"{word}: {', '.join(str(words[value]).lower() for value in values)}"


@require_safe
def combinations(request: Request) -> HttpResponse:
    require(request.actor, "trust.view")
    day = AskedDay.read(request)
    questions = ask(request.actor, as_of=day.instant)
    cards = []
    for combination in Combination.objects.filter(retired_at=None):
        found = questions.combinations(combination.pk)
        page = found.matches.page(limit=PAGE)
        matches = _named(page.rows)
        count = found.counts.get(str(combination.pk), 0)
        cards.append(
            {
                "combination": combination,
                "legs": _legs(combination),
                "count": count,
                "matches": matches[:SHOWN],
                "further": matches[SHOWN:],
                "more": count - len(page.rows),
            }
        )
    context = {
        "nav": NAV,
        "cards": cards,
        "day": day,
        "may_manage": allows(request.actor, "trust.manage_combinations"),
        "waiting": waiting_for_decision(request.actor),
    }
    return render(request, "trust/combinations.html", context, status=day.status)


@require_safe
def combination(request: Request, pk: UUID) -> HttpResponse:
    """One combination and every agent that has it, page by page."""
    require(request.actor, "trust.view")
    thing = _combination(pk)
    day = AskedDay.read(request)
    context: dict[str, Any] = {
        "nav": NAV,
        "day": day,
        "combination": thing,
        "legs": _legs(thing),
        "may_manage": thing.retired_at is None and allows(request.actor, "trust.manage_combinations", thing),
    }
    if thing.retired_at is None:
        found = ask(request.actor, as_of=day.instant).combinations(thing.pk)
        page = found.matches.page(request.GET.get("cursor"), PAGE)
        context |= {
            "count": found.counts.get(str(thing.pk), 0),
            "hidden": found.matches.hidden,
            "matches": _named(page.rows),
            "next": page.next,
        }
    return render(request, "trust/combination.html", context, status=day.status)


def _combination(pk: UUID) -> Combination:
    found = Combination.objects.filter(pk=pk).first()
    if found is None:
        raise NotFound
    return found


class CombinationEdit(View):
    """Add a combination or say it differently; the same form for both."""

    def _page(self, request: Request, form: CombinationForm, thing: Combination | None) -> HttpResponse:
        return answer(request, "trust/combination_form.html", form, {"nav": NAV, "combination": thing})

    def get(self, request: Request, pk: UUID | None = None) -> HttpResponse:
        require(request.actor, "trust.manage_combinations")
        thing = _combination(pk) if pk else None
        return self._page(request, CombinationForm(initial=CombinationForm.initial_of(thing)), thing)

    def post(self, request: Request, pk: UUID | None = None) -> HttpResponse:
        require(request.actor, "trust.manage_combinations")
        thing = _combination(pk) if pk else None
        form = CombinationForm(request.POST)
        done = run(form, self._call(request, form, thing))
        if done is None:
            return self._page(request, form, thing)
        messages.success(request, _("Kept. The answer below counts from now on."))
        return redirect("trust:combination", done.pk)

    @staticmethod
    def _call(request: Request, form: CombinationForm, thing: Combination | None) -> Callable[..., Combination]:
        def call(*, version: str, name: str, explanation: str, **_fields: Any) -> Combination:
            legs, places = form.legs()
            facts: dict[str, Any] = {"name": name, "explanation": explanation, "legs": legs}
            try:
                if thing is None:
                    return services.create_combination(actor=request.actor, **facts)
                return services.change_combination(
                    actor=request.actor, combination=thing, expected_version=version or None, **facts
                )
            except Invalid as error:
                # The service counts the legs it got; the form has empty ones between them.
                error.fields = {form.place(path, places): words for path, words in error.fields.items()}
                raise

        return call


class CombinationRetire(View):
    def _page(self, request: Request, form: ReasonForm, thing: Combination) -> HttpResponse:
        return answer(request, "trust/combination_retire.html", form, {"nav": NAV, "combination": thing})

    def get(self, request: Request, pk: UUID) -> HttpResponse:
        thing = _combination(pk)
        require(request.actor, "trust.manage_combinations", thing)
        return self._page(request, ReasonForm(initial={"version": thing.etag}), thing)

    def post(self, request: Request, pk: UUID) -> HttpResponse:
        thing = _combination(pk)
        form = ReasonForm(request.POST)

        def call(*, reason: str, version: str) -> Combination:
            return services.retire_combination(
                actor=request.actor, combination=thing, reason=reason, expected_version=version or None
            )

        if run(form, call) is None:
            return self._page(request, form, thing)
        messages.success(request, _("It is looked for no longer. It stays on record."))
        return redirect("trust:combinations")
