"""Teams and their members."""

from functools import partial

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from registry.accounts import services
from registry.accounts.filters import TeamFilter
from registry.accounts.forms import (
    MembersForm,
    TeamForm,
)
from registry.accounts.queries import teams_visible_to
from registry.accounts.views.signed_in import get_or_post, signed_in
from registry.core.filtering import chosen
from registry.core.forms import answer, run, status_of
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.panels import panels_for
from registry.core.permissions import allows, require


@require_safe
def teams(request: Request) -> HttpResponse:
    require(request.actor, "accounts.view")
    filterset = TeamFilter(request.GET, teams_visible_to(request.actor), request=request)
    page = keyset_page(filterset.qs, request, order="name", count=True)
    context = {
        "nav": "people",
        "filter": filterset,
        "chosen": chosen(filterset, request),
        "page": page,
        "may_manage": allows(request.actor, "accounts.manage_people"),
        "may_view_groups": allows(request.actor, "accounts.view_group_roles"),
    }
    return render(request, "accounts/teams.html", context)


@get_or_post
def new_team(request: Request) -> HttpResponse:
    require(request.actor, "accounts.manage_people")
    form = TeamForm(request.POST or None)
    if request.method == "POST":
        team = run(form, partial(services.create_team, actor=request.actor))
        if team is not None:
            messages.success(request, _("Team %(name)s exists. Now name its members.") % {"name": team.name})
            return redirect("accounts:team", team.slug)
    return answer(request, "accounts/new_team.html", form, {"nav": "people"})


@get_or_post
def team(request: Request, slug: str) -> HttpResponse:
    """Its lead and members; administrators set them here."""
    signed_in(request)
    found = get_object_or_404(teams_visible_to(request.actor), slug=slug)
    may_manage = allows(request.actor, "accounts.manage_people")
    form = None
    if request.method == "POST":
        require(request.actor, "accounts.manage_people")
        form = MembersForm(request.POST, team=found)
        if run(form, partial(services.set_team, actor=request.actor, team=found)) is not None:
            messages.success(request, _("Saved."))
            return redirect("accounts:team", slug)
    elif may_manage:
        form = MembersForm(team=found)
    context = {
        "nav": "people",
        "team": found,
        "members": found.members.order_by("name"),
        "form": form,
        "panels": panels_for("team", found.pk),
    }
    return render(request, "accounts/team.html", context, status=status_of(form) if form else 200)
