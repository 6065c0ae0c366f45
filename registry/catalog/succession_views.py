"""Pages of succession: what somebody left behind, who is asked to take it over, and their answer."""

from functools import partial
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_safe

from registry.accounts.models import User
from registry.accounts.queries import people_visible_to
from registry.catalog import services
from registry.catalog.forms import AnswerForm, ReasonForm, SuccessorForm
from registry.catalog.models import Agent, Proposal, Server, System, Vacancy
from registry.catalog.queries import my_proposals, vacancies_of, vacated_by
from registry.catalog.states import Lifecycle, ProposalState, Standing
from registry.core.actors import Actor
from registry.core.errors import NotFound
from registry.core.forms import run, status_of
from registry.core.http import Request
from registry.core.permissions import allows, require

get_or_post = require_http_methods(["GET", "HEAD", "POST"])


@get_or_post
def succession(request: Request) -> HttpResponse:
    """What one is asked to take over, to accept or decline many at once; and what is without an owner."""
    require(request.actor, "catalog.view")
    form = AnswerForm(request.POST or None, actor=request.actor)
    if request.method == "POST" and (answered := run(form, partial(_answer, request.actor))) is not None:
        messages.success(request, answered)
        return redirect("catalog:succession")
    mine = my_proposals(request.actor)
    context = {
        "nav": "people",
        "mine": mine,
        "ticked": set(request.POST.getlist("proposals")) or {str(each.pk) for each in mine},
        "form": form,
        "leavers": vacated_by(request.actor),
    }
    return render(request, "catalog/succession.html", context, status=status_of(form))


def _answer(actor: Actor, *, proposals: list[str], answer: str, deputy: User | None, reason: str) -> str:
    chosen = list(Proposal.objects.visible_to(actor).filter(pk__in=proposals))
    if len(chosen) != len(set(proposals)):
        raise NotFound
    if answer == "accept":
        done = services.accept_proposals(actor=actor, proposals=chosen, deputy=deputy)
        said = ngettext("You answer for %(n)d thing more.", "You answer for %(n)d things more.", len(done))
    else:
        done = services.decline_proposals(actor=actor, proposals=chosen, reason=reason)
        said = ngettext("You declined %(n)d thing.", "You declined %(n)d things.", len(done))
    return said % {"n": len(done)}


@get_or_post
def holdings(request: Request, pk: UUID) -> HttpResponse:
    """Everything somebody left behind, with checkboxes: who takes it over?"""
    require(request.actor, "catalog.view")
    left = get_object_or_404(people_visible_to(request.actor).select_related("manager"), pk=pk)
    rows = vacancies_of(left, request.actor)
    may_ask = [row for row in rows if allows(request.actor, "catalog.propose_successor", row)]
    form = SuccessorForm(request.POST or None, actor=request.actor)
    if request.method == "POST":
        require(request.actor, "catalog.propose_successor", may_ask[0] if may_ask else None)

        def ask(*, vacancies: list[str], successor: User, note: str) -> list[Proposal]:
            chosen = [row for row in rows if str(row.pk) in vacancies]
            if len(chosen) != len(set(vacancies)):
                raise NotFound
            return services.propose_successor(actor=request.actor, vacancies=chosen, successor=successor, note=note)

        asked = run(form, ask)
        if asked is not None:
            words = ngettext("%(who)s is asked about %(n)d thing.", "%(who)s is asked about %(n)d things.", len(asked))
            messages.success(request, words % {"who": asked[0].successor.name, "n": len(asked)})
            return redirect("catalog:holdings", left.pk)
    context = {
        "nav": "people",
        "left": left,
        "rows": [(row, row in may_ask, _may_withdraw(request.actor, row)) for row in rows],
        "ticked": set(request.POST.getlist("vacancies")) or {str(row.pk) for row in may_ask if not row.asked},
        "form": form if may_ask else None,
        "over": list(
            Vacancy.objects.visible_to(request.actor)
            .filter(former_owner=left, ended_at__isnull=False)
            .select_related("server", "system", "agent")
            .order_by("-ended_at")[:20]
        ),
    }
    return render(request, "catalog/holdings.html", context, status=status_of(form))


def _may_withdraw(actor: Actor, row: Vacancy) -> bool:
    return any(allows(actor, "catalog.withdraw_proposal", each) for each in row.asked)


@get_or_post
def withdraw_proposal(request: Request, pk: UUID) -> HttpResponse:
    """Ask no longer, and say why."""
    require(request.actor, "catalog.view")
    rows = Proposal.objects.visible_to(request.actor).select_related(
        "successor", "vacancy__former_owner", "vacancy__server", "vacancy__system", "vacancy__agent"
    )
    proposal = rows.filter(pk=pk, state=ProposalState.PROPOSED).first()
    if proposal is None:
        raise NotFound
    require(request.actor, "catalog.withdraw_proposal", proposal)
    form = ReasonForm(request.POST or None, initial={"version": proposal.etag})

    def act(*, reason: str, version: str) -> Proposal:
        return services.withdraw_proposal(
            actor=request.actor, proposal=proposal, reason=reason, expected_version=version or None
        )

    if request.method == "POST" and run(form, act) is not None:
        messages.success(request, _("%(name)s is asked no longer.") % {"name": proposal.successor.name})
        return redirect("catalog:holdings", proposal.vacancy.former_owner_id)
    context = {"nav": "people", "proposal": proposal, "form": form}
    return render(request, "catalog/withdraw_proposal.html", context, status=status_of(form))


@require_safe
def person_holdings(request: Request, pk: UUID) -> HttpResponse:
    """On a person's page: what they answer for, and where it goes."""
    require(request.actor, "catalog.view")
    person = get_object_or_404(people_visible_to(request.actor), pk=pk)
    servers = Server.objects.visible_to(request.actor).exclude(lifecycle=Lifecycle.RETIRED)
    counts = [
        (_("Servers"), "catalog:servers", "server", servers.filter(owner=person).count()),
        (_("Systems"), "catalog:systems", "database", _owned(System, request.actor, person)),
        (_("Agents"), "catalog:agents", "bot", _owned(Agent, request.actor, person)),
    ]
    context = {
        "nav": "people",
        "person": person,
        "counts": counts,
        "deputised": servers.filter(deputy=person).count(),
        "vacant": Vacancy.objects.visible_to(request.actor).open().filter(former_owner=person).count(),
        "asked": Proposal.objects.visible_to(request.actor).waiting().filter(successor=person).count(),
    }
    fragment = bool(request.headers.get("HX-Request"))
    response = render(request, f"catalog/{'_' if fragment else ''}person_holdings.html", context)
    response["Vary"] = "HX-Request"
    return response


def _owned(model: type[System] | type[Agent], actor: Actor, person: User) -> int:
    found: int = model.objects.visible_to(actor).filter(owner=person).exclude(standing=Standing.RETIRED).count()
    return found
