"""Roles taken in an emergency: taking one, giving it back, and looking afterwards at what was done with it."""

from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from registry.accounts import services
from registry.accounts.filters import ElevationFilter
from registry.accounts.forms import EmergencyForm, FindingForm
from registry.accounts.models import Elevation
from registry.accounts.queries import roles_taken_visible_to
from registry.accounts.views.signed_in import get_or_post, signed_in
from registry.core.filtering import chosen
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.independence import bars
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require


@get_or_post
def emergency(request: Request) -> HttpResponse:
    """The form for whom the organisation named, and what was taken, the latest first."""
    actor = request.actor
    require(actor, "accounts.view")
    form = EmergencyForm(request.POST or None, user=actor.user)
    if request.method == "POST":
        taken = run(form, partial(services.take_role, actor=actor))
        if taken is not None:
            told = {"role": taken.get_role_display(), "n": services.MAX_HOURS}
            messages.warning(request, _("You are %(role)s now. Give it back as soon as you can.") % told)
            return redirect("accounts:emergency")
    return _page(request, form)


def _page(
    request: Request, form: Any, refused: Elevation | None = None, finding: FindingForm | None = None
) -> HttpResponse:
    actor = request.actor
    filterset = ElevationFilter(request.GET, roles_taken_visible_to(actor), request=request)
    page = keyset_page(filterset.qs, request, order=("-started_at", "-id"))
    context = {
        "nav": "people",
        "filter": filterset,
        "chosen": chosen(filterset, request),
        "page": page,
        "may_take": allows(actor, "accounts.take_role") and not actor.user.elevation,
        "may_view_groups": allows(actor, "accounts.view_group_roles"),
        "take": form,
        "rows": [
            {
                "taken": each,
                "story": _story(each),
                "may_end": each.is_open and allows(actor, "accounts.end_role", each),
                "finding": (finding if refused and refused.pk == each.pk else FindingForm(auto_id=f"id_{each.pk}_%s"))
                if not each.is_open
                and each.reviewed_at is None
                and not bars(actor.user_id, each)
                and allows(actor, "accounts.review_role", each)
                else None,
            }
            for each in page
        ],
    }
    return answer(request, "accounts/emergency.html", finding or form, context)


def _story(taken: Elevation) -> str:
    """Everything they did meanwhile, in the trail."""
    try:
        trail = reverse("audit:events")
    except NoReverseMatch:
        return ""
    asked = {"actor_id": taken.user_id, "since": taken.started_at.isoformat(), "until": taken.until.isoformat()}
    return f"{trail}?{urlencode(asked)}"


@require_POST
def end_emergency(request: Request, pk: Any) -> HttpResponse:
    signed_in(request)
    services.end_role(actor=request.actor, elevation=get_object_or_404(roles_taken_visible_to(request.actor), pk=pk))
    messages.success(request, _("The emergency role has ended."))
    return redirect("accounts:emergency")


@require_POST
def review_emergency(request: Request, pk: Any) -> HttpResponse:
    actor = signed_in(request)
    elevation = get_object_or_404(roles_taken_visible_to(actor), pk=pk)
    form = FindingForm(request.POST, auto_id=f"id_{pk}_%s")
    if run(form, partial(services.review_role, actor=actor, elevation=elevation)) is None:
        return _page(request, EmergencyForm(user=actor.user), elevation, form)
    messages.success(request, _("Reviewed. Your finding is part of the trail."))
    return redirect("accounts:emergency")
