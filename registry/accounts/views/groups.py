"""Which group of a provider or of the directory gives which role."""

from functools import partial
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from registry.accounts import services
from registry.accounts.forms import GroupRoleForm
from registry.accounts.models import GroupRole
from registry.accounts.presentation import source_title
from registry.accounts.queries import group_roles_visible_to, groups_without_role
from registry.accounts.views.signed_in import get_or_post, signed_in
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.independence import bars
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require


@get_or_post
def group_roles(request: Request) -> HttpResponse:
    """The list with its form. Changes take effect at once for everybody whose groups are known."""
    require(request.actor, "accounts.view_group_roles")
    form = GroupRoleForm(request.POST or None, initial={"group": request.GET.get("group", "")})
    if request.method == "POST":
        mapping = run(form, partial(services.map_group, actor=request.actor))
        if mapping is not None:
            if mapping.state == GroupRole.State.PROPOSED:
                messages.info(request, _("Proposed. Another administrator or somebody of security confirms it."))
            else:
                messages.success(request, _("Whoever is in %(group)s has the role %(role)s.") % _named(mapping))
            return redirect("accounts:group_roles")
    may_decide = allows(request.actor, "accounts.decide_roles")
    page = keyset_page(group_roles_visible_to(request.actor), request, order=("group", "id"))
    context = {
        "nav": "people",
        "page": page,
        "without": groups_without_role(request.actor),
        "may_map": allows(request.actor, "accounts.map_groups"),
        "may_decide": may_decide,
        "rows": [
            (mapping, source_title(mapping.provider), may_decide and not bars(request.actor.user_id, mapping))
            for mapping in page
        ],
        "may_view_groups": True,
    }
    return answer(request, "accounts/group_roles.html", form, context)


@require_POST
def unmap(request: Request, pk: Any) -> HttpResponse:
    signed_in(request)
    mapping: GroupRole = get_object_or_404(group_roles_visible_to(request.actor), pk=pk)
    if services.unmap_group(actor=request.actor, mapping=mapping) is None:
        messages.success(request, _("%(group)s no longer gives the role %(role)s.") % _named(mapping))
    else:
        messages.info(request, _("Proposed. It goes once another administrator or somebody of security confirms it."))
    return redirect("accounts:group_roles")


@require_POST
def decide_group_role(request: Request, pk: Any) -> HttpResponse:
    """The second person's word on a group that would give, or no longer give, a role that oversees others."""
    signed_in(request)
    mapping: GroupRole = get_object_or_404(group_roles_visible_to(request.actor), pk=pk)
    confirm = request.POST.get("decision") == "confirm"
    kept = services.decide_group_role(actor=request.actor, mapping=mapping, confirm=confirm)
    if kept is None:
        messages.success(request, _("%(group)s does not give the role %(role)s.") % _named(mapping))
    else:
        messages.success(request, _("Whoever is in %(group)s has the role %(role)s.") % _named(mapping))
    return redirect("accounts:group_roles")


def _named(mapping: GroupRole) -> dict[str, str]:
    return {"group": mapping.group, "role": mapping.get_role_display()}
