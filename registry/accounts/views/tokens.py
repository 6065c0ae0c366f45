"""One's own API tokens."""

from functools import partial
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from registry.accounts import services
from registry.accounts.forms import RotationForm, TokenEditForm, TokenForm
from registry.accounts.hygiene import findings
from registry.accounts.queries import tokens_visible_to
from registry.accounts.views.signed_in import get_or_post, signed_in
from registry.audit.services import record_access
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.permissions import allows


def _example(request: Request, secret: str) -> str:
    return f'curl -H "Authorization: Bearer {secret or "…"}" {request.build_absolute_uri("/api/v1/servers")}'


@never_cache
@get_or_post
def tokens(request: Request) -> HttpResponse:
    """One's tokens, and the form for a new one.

    The secret is part of the answer to the POST and of nothing else: a redirect would have to store it somewhere.
    """
    actor = signed_in(request)
    form = TokenForm(request.POST or None)
    made = None
    if request.method == "POST":
        made = run(form, partial(services.create_token, actor=actor, user=actor.user))
    token, secret = made or (None, "")
    context = {
        "nav": "account",
        "tokens": tokens_visible_to(actor).filter(user=actor.user),
        "created": token,
        "secret": secret,
        "example": _example(request, secret),
    }
    return answer(request, "accounts/tokens.html", TokenForm() if made else form, context)


@get_or_post
def token(request: Request, pk: Any) -> HttpResponse:
    """One token: what it may do, who used it last, what is wrong with it; its owner changes it here."""
    actor = signed_in(request)
    found = get_object_or_404(tokens_visible_to(actor), pk=pk)
    if not actor.is_person(found.user_id):
        record_access(actor=actor, act="token.viewed", subject=found)
    may_change = allows(actor, "accounts.change_token", found) and found.state == "active"
    form = TokenEditForm(request.POST) if request.method == "POST" else TokenEditForm.about(found)
    if request.method == "POST":
        version = request.POST.get("version") or None
        if run(form, partial(services.edit_token, actor=actor, token=found, expected_version=version)):
            messages.success(request, _("Saved."))
            return redirect("accounts:token", pk)
    context = {
        "nav": "account" if actor.is_person(found.user_id) else "machines",
        "token": found,
        "mine": actor.is_person(found.user_id),
        "may_change": may_change,
        "rotation": RotationForm(),
        "wrong": [each for each in findings(actor) if each.credential == found],
        "made": tokens_visible_to(actor).filter(parent=found, revoked_at=None),
    }
    return answer(request, "accounts/token.html", form, context)


@never_cache
@get_or_post
def rotate(request: Request, pk: Any) -> HttpResponse:
    """A new secret, shown in the answer to the POST and nowhere else."""
    actor = signed_in(request)
    found = get_object_or_404(tokens_visible_to(actor), pk=pk)
    form = RotationForm(request.POST or None)
    context: dict[str, Any] = {"nav": "account", "token": found}
    if request.method == "POST" and (made := run(form, partial(services.rotate_token, actor=actor, token=found))):
        token, secret = made
        context |= {"token": token, "secret": secret, "example": _example(request, secret)}
    return answer(request, "accounts/rotate_token.html", form, context)


@get_or_post
def revoke(request: Request, pk: Any) -> HttpResponse:
    actor = signed_in(request)
    token = get_object_or_404(tokens_visible_to(actor), pk=pk)
    back = redirect("accounts:tokens") if actor.is_person(token.user_id) else redirect("accounts:person", token.user_id)
    if request.method != "POST":
        made = tokens_visible_to(actor).filter(parent=token, revoked_at=None)
        context = {"nav": "account", "token": token, "back": back.url, "made": made}
        return render(request, "accounts/revoke_token.html", context)
    services.revoke_token(actor=actor, token=token)
    messages.success(request, _("%(token)s is revoked. Calls with it are refused from now on.") % {"token": token.name})
    return back
