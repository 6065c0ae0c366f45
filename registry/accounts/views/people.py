"""People and their roles."""

from functools import partial
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from registry.accounts import services
from registry.accounts.filters import UserFilter
from registry.accounts.forms import (
    PersonForm,
    RolesForm,
)
from registry.accounts.models import Role, User
from registry.accounts.presentation import grants_of, identities_of
from registry.accounts.queries import (
    people_visible_to,
    role_proposals_visible_to,
    tokens_visible_to,
    waiting_proposal,
)
from registry.accounts.views.signed_in import get_or_post, role_words, signed_in
from registry.core.actors import Actor
from registry.core.filtering import chosen
from registry.core.forms import answer, run, status_of
from registry.core.http import Request
from registry.core.independence import bars
from registry.core.pagination import keyset_page
from registry.core.panels import panels_for
from registry.core.permissions import allows, require


@require_safe
def people(request: Request) -> HttpResponse:
    require(request.actor, "accounts.view")
    filterset = UserFilter(request.GET, people_visible_to(request.actor), request=request)
    page = keyset_page(filterset.qs.prefetch_related("teams"), request, order=("name", "id"), count=True)
    return render(
        request,
        "accounts/people.html",
        {
            "nav": "people",
            "filter": filterset,
            "chosen": chosen(filterset, request),
            "page": page,
            "rows": [(user, role_words(user)) for user in page],
            "may_manage": allows(request.actor, "accounts.manage_people"),
            "may_view_groups": allows(request.actor, "accounts.view_group_roles"),
        },
    )


@sensitive_post_parameters("password")
@get_or_post
def new_person(request: Request) -> HttpResponse:
    require(request.actor, "accounts.manage_people")
    form = PersonForm(request.POST or None, initial={"roles": ["member"]})
    if request.method == "POST":
        user = run(form, partial(services.create_user, actor=request.actor))
        if user is not None:
            said = (
                _("%(name)s can sign in now, and has to choose a password of their own then.")
                if user.password_given
                else _("%(name)s can sign in now.")
            )
            messages.success(request, said % {"name": user.name})
            return redirect("accounts:person", user.pk)
    return answer(request, "accounts/new_person.html", form, {"nav": "people"})


def _proposed(actor: Actor, user: User) -> dict[str, Any]:
    proposal = waiting_proposal(actor, user)
    if proposal is None:
        return {}
    may_decide = allows(actor, "accounts.decide_roles")
    return {
        "proposal": proposal,
        "proposed": [label for value, label in Role.choices if value in proposal.roles],
        "may_confirm": may_decide and not bars(actor.user_id, proposal),
        "may_refuse": may_decide,
    }


def _person_page(request: Request, user: User, form: RolesForm | None = None) -> HttpResponse:
    actor = request.actor
    may_manage = allows(actor, "accounts.manage_people")
    context = {
        "nav": "people",
        "grants": grants_of(user),
        "identities": identities_of(user),
        "person": user,
        "roles": role_words(user),
        "teams": user.teams.order_by("name"),
        "may_manage": may_manage,
        "form": form or (RolesForm(initial={"roles": user.roles}) if may_manage else None),
        "alone": may_manage and services.decides_alone(actor),
        **_proposed(actor, user),
        "panels": panels_for("person", user.pk),
        "tokens": tokens_visible_to(actor).filter(user=user) if allows(actor, "accounts.view_all_tokens") else None,
    }
    return render(request, "accounts/person.html", context, status=status_of(form) if form else 200)


@require_safe
def person(request: Request, pk: Any) -> HttpResponse:
    signed_in(request)
    return _person_page(request, get_object_or_404(people_visible_to(request.actor), pk=pk))


@require_POST
def roles(request: Request, pk: Any) -> HttpResponse:
    signed_in(request)
    user = get_object_or_404(people_visible_to(request.actor), pk=pk)
    form = RolesForm(request.POST)
    if run(form, partial(services.set_roles, actor=request.actor, user=user)) is None:
        return _person_page(request, user, form)
    if waiting_proposal(request.actor, user):
        words = _(
            "Proposed. A second person, an administrator or of security, confirms it here; nothing changes until then."
        )
        messages.info(request, words)
    else:
        messages.success(request, _("The roles of %(name)s are set.") % {"name": user.name})
    return redirect("accounts:person", user.pk)


@require_POST
def decide_roles(request: Request, pk: Any) -> HttpResponse:
    """The second person's word on proposed roles."""
    actor = signed_in(request)
    proposal = get_object_or_404(role_proposals_visible_to(actor), pk=pk)
    confirm = request.POST.get("decision") == "confirm"
    services.decide_roles(actor=actor, proposal=proposal, confirm=confirm)
    words = _("The roles of %(name)s are set.") if confirm else _("The roles of %(name)s stay as they are.")
    messages.success(request, words % {"name": proposal.user.name})
    return redirect("accounts:person", proposal.user_id)


@require_POST
def standing(request: Request, pk: Any) -> HttpResponse:
    """Somebody left, or came back. Nothing of theirs is deleted."""
    signed_in(request)
    former = get_object_or_404(people_visible_to(request.actor), pk=pk)
    user = services.set_active(actor=request.actor, user=former, active=request.POST.get("active") == "true")
    words = (
        _("%(name)s can act again.") if user.is_active else _("%(name)s can no longer sign in; tokens are refused too.")
    )
    messages.success(request, words % {"name": user.name})
    if lost := [str(label) for role, label in Role.choices if role in {*former.roles} - {*user.roles}]:
        said = _("Not restored: %(roles)s. Two people give roles that oversee others.")
        messages.warning(request, said % {"roles": ", ".join(lost)})
    return redirect("accounts:person", user.pk)
