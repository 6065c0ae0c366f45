"""Machines: service principals, the issuers that vouch for them, everybody's tokens, and what is wrong with them."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from registry.accounts import services
from registry.accounts.filters import PrincipalFilter, TokenFilter
from registry.accounts.forms import PrincipalForm, ReasonForm, WorkloadIssuerForm
from registry.accounts.hygiene import findings
from registry.accounts.issuer_keys import keys_state
from registry.accounts.models import ServicePrincipal, WorkloadIssuer
from registry.accounts.queries import issuers_visible_to, principals_visible_to, tokens_visible_to
from registry.accounts.views.signed_in import get_or_post
from registry.core.errors import Conflict, Invalid
from registry.core.filtering import chosen
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require

NAV = "machines"


def _tabs(request: Request, tab: str) -> dict[str, Any]:
    return {
        "nav": NAV,
        "tab": tab,
        "found": len(findings(request.actor)),
        "may_manage_issuers": allows(request.actor, "accounts.manage_issuers"),
    }


def _principal(request: Request, pk: UUID) -> ServicePrincipal:
    require(request.actor, "accounts.view")
    return get_object_or_404(principals_visible_to(request.actor).select_related("suspended_by", "created_by"), pk=pk)


def _issuer(request: Request, pk: UUID) -> WorkloadIssuer:
    require(request.actor, "accounts.view")
    return get_object_or_404(issuers_visible_to(request.actor), pk=pk)


# --- Service principals ------------------------------------------------------------------------------------


@require_safe
def principals(request: Request) -> HttpResponse:
    require(request.actor, "accounts.view")
    filterset = PrincipalFilter(request.GET, principals_visible_to(request.actor), request=request)
    context = _tabs(request, "workloads") | {
        "filter": filterset,
        "chosen": chosen(filterset, request),
        "page": keyset_page(filterset.qs, request, order=("name", "id"), count=True),
        "issuers": issuers_visible_to(request.actor).filter(state=WorkloadIssuer.State.ACTIVE).exists(),
        "audience": settings.BASE_URL,
        "base": request.build_absolute_uri("/").rstrip("/"),
    }
    return render(request, "accounts/machines.html", context)


@require_safe
def principal(request: Request, pk: UUID) -> HttpResponse:
    found = _principal(request, pk)
    actor = request.actor
    context = {
        "nav": NAV,
        "principal": found,
        "audience": found.audience or found.issuer.audience,
        "base": request.build_absolute_uri("/").rstrip("/"),
        "may_edit": allows(actor, "accounts.edit_principal", found) and found.state != "retired",
        "may_suspend": allows(actor, "accounts.suspend_principal", found) and found.state in ("active", "proposed"),
        "may_resume": allows(actor, "accounts.resume_principal", found) and found.state in ("suspended", "proposed"),
        "may_retire": allows(actor, "accounts.retire_principal", found) and found.state != "retired",
        "reason": ReasonForm(),
        "wrong": [each for each in findings(actor) if each.credential == found],
        "form_of_life": "spiffe" if found.issuer.trust_domain else _platform(found.issuer.issuer),
    }
    return render(request, "accounts/principal.html", context)


def _platform(issuer: str) -> str:
    return "github" if "githubusercontent" in issuer else "kubernetes"


def _principal_form(request: Request, principal: ServicePrincipal | None = None) -> PrincipalForm:
    may_assign = allows(request.actor, "accounts.assign_principal")
    return PrincipalForm(request.POST or None, may_assign=may_assign, principal=principal)


@get_or_post
def new_principal(request: Request) -> HttpResponse:
    require(request.actor, "accounts.create_principal")
    form = _principal_form(request)
    if request.method == "POST" and (made := run(form, partial(services.create_principal, actor=request.actor))):
        if made.state == ServicePrincipal.State.PROPOSED:
            messages.info(request, _("It acts as soon as %(owner)s accepts it.") % {"owner": made.owner.name})
        else:
            messages.success(request, _("%(name)s may act from now on.") % {"name": made.name})
        return redirect("accounts:principal", made.pk)
    context = {"nav": NAV, "issuers": issuers_visible_to(request.actor).exists(), "audience": settings.BASE_URL}
    return answer(request, "accounts/principal_form.html", form, context)


@get_or_post
def edit_principal(request: Request, pk: UUID) -> HttpResponse:
    found = _principal(request, pk)
    require(request.actor, "accounts.edit_principal", found)
    form = _principal_form(request, found)
    if request.method == "POST":
        version = request.POST.get("version") or None
        act = partial(services.edit_principal, actor=request.actor, principal=found, expected_version=version)
        if run(form, act):
            messages.success(request, _("Saved."))
            return redirect("accounts:principal", pk)
    return answer(request, "accounts/principal_form.html", form, {"nav": NAV, "principal": found})


def _principal_act(act: Callable[..., ServicePrincipal], said: Promise, *, because: bool = True) -> Any:
    @require_POST
    def view(request: Request, pk: UUID) -> HttpResponse:
        found = _principal(request, pk)
        reason = {"reason": request.POST.get("reason", "")[:500]} if because else {}
        try:
            act(actor=request.actor, principal=found, **reason)
        except (Conflict, Invalid) as error:
            messages.error(request, error.message)
        else:
            messages.success(request, str(said) % {"name": found.name})
        return redirect("accounts:principal", pk)

    return view


suspend_principal = _principal_act(services.suspend_principal, gettext_lazy("%(name)s gets in no more."))
resume_principal = _principal_act(services.resume_principal, gettext_lazy("%(name)s may act again."), because=False)
retire_principal = _principal_act(services.retire_principal, gettext_lazy("%(name)s is retired for good."))


# --- Issuers -----------------------------------------------------------------------------------------------


@require_safe
def issuers(request: Request) -> HttpResponse:
    require(request.actor, "accounts.view")
    alive = Count("principals", filter=~Q(principals__state=ServicePrincipal.State.RETIRED))
    page = keyset_page(issuers_visible_to(request.actor).annotate(alive=alive), request, order=("name", "id"))
    rows = [(each, keys_state(each)) for each in page]
    return render(request, "accounts/issuers.html", _tabs(request, "issuers") | {"page": page, "rows": rows})


@require_safe
def issuer(request: Request, pk: UUID) -> HttpResponse:
    found = _issuer(request, pk)
    context = {
        "nav": NAV,
        "issuer": found,
        "keys_state": keys_state(found),
        "principals": principals_visible_to(request.actor).filter(issuer=found),
        "may_manage": allows(request.actor, "accounts.manage_issuers") and found.state == "active",
        "reason": ReasonForm(),
    }
    return render(request, "accounts/issuer.html", context)


@get_or_post
def new_issuer(request: Request) -> HttpResponse:
    require(request.actor, "accounts.manage_issuers")
    form = WorkloadIssuerForm(request.POST or None)
    if request.method == "POST" and (made := run(form, partial(services.register_issuer, actor=request.actor))):
        messages.success(request, _("Registered. Ask for its keys now, or wait for the first workload."))
        return redirect("accounts:workload_issuer", made.pk)
    return answer(request, "accounts/issuer_form.html", form, {"nav": NAV})


@get_or_post
def edit_issuer(request: Request, pk: UUID) -> HttpResponse:
    found = _issuer(request, pk)
    require(request.actor, "accounts.manage_issuers")
    form = WorkloadIssuerForm.about(found, request.POST or None)
    if request.method == "POST":

        def act(**values: Any) -> WorkloadIssuer:
            values.pop("issuer")
            version = request.POST.get("version") or None
            return services.edit_issuer(actor=request.actor, issuer=found, expected_version=version, **values)

        if run(form, act):
            messages.success(request, _("Saved."))
            return redirect("accounts:workload_issuer", pk)
    return answer(request, "accounts/issuer_form.html", form, {"nav": NAV, "issuer": found})


@require_POST
def refresh_issuer(request: Request, pk: UUID) -> HttpResponse:
    found = _issuer(request, pk)
    try:
        fresh = services.refresh_issuer_keys(actor=request.actor, issuer=found)
    except Conflict as error:
        messages.error(request, error.message)
    else:
        if fresh:
            messages.success(request, _("It has %(n)d keys.") % {"n": len(found.keys)})
        else:
            messages.error(request, found.keys_error)
    return redirect("accounts:workload_issuer", pk)


@require_POST
def retire_issuer(request: Request, pk: UUID) -> HttpResponse:
    found = _issuer(request, pk)
    try:
        services.retire_issuer(actor=request.actor, issuer=found, reason=request.POST.get("reason", "")[:500])
    except (Conflict, Invalid) as error:
        messages.error(request, error.message)
    else:
        messages.success(request, _("None of its workloads gets in any more."))
    return redirect("accounts:workload_issuer", pk)


# --- Everybody's tokens, and findings ----------------------------------------------------------------------


@require_safe
def all_tokens(request: Request) -> HttpResponse:
    require(request.actor, "accounts.view")
    filterset = TokenFilter(request.GET, tokens_visible_to(request.actor), request=request)
    context = _tabs(request, "tokens") | {
        "filter": filterset,
        "chosen": chosen(filterset, request),
        "page": keyset_page(filterset.qs, request, order="-created_at", count=True),
        "everybodys": allows(request.actor, "accounts.view_all_tokens"),
    }
    return render(request, "accounts/machine_tokens.html", context)


@require_safe
def machine_findings(request: Request) -> HttpResponse:
    require(request.actor, "accounts.view")
    found = findings(request.actor)
    context = _tabs(request, "findings") | {
        "findings": found,
        "everybodys": allows(request.actor, "accounts.view_all_tokens"),
    }
    return render(request, "accounts/machine_findings.html", context)
