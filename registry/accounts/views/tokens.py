"""One's own API tokens."""

from functools import partial
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from registry.accounts import services
from registry.accounts.forms import (
    TokenForm,
)
from registry.accounts.queries import tokens_visible_to
from registry.accounts.views.signed_in import get_or_post, signed_in
from registry.core.forms import answer, run
from registry.core.http import Request


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
        "example": f'curl -H "Authorization: Bearer {secret or "…"}" {request.build_absolute_uri("/api/v1/servers")}',
    }
    return answer(request, "accounts/tokens.html", TokenForm() if made else form, context)


@get_or_post
def revoke(request: Request, pk: Any) -> HttpResponse:
    actor = signed_in(request)
    token = get_object_or_404(tokens_visible_to(actor), pk=pk)
    back = redirect("accounts:tokens") if actor.is_person(token.user_id) else redirect("accounts:person", token.user_id)
    if request.method != "POST":
        return render(request, "accounts/revoke_token.html", {"nav": "account", "token": token, "back": back.url})
    services.revoke_token(actor=actor, token=token)
    messages.success(request, _("%(token)s is revoked. Calls with it are refused from now on.") % {"token": token.name})
    return back
