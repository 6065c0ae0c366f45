"""Signing in and out."""

from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate, logout
from django.http import HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from registry.accounts import browser
from registry.accounts.demo import DEMO_PASSWORD, demo_sign_ins
from registry.accounts.forms import (
    SignInForm,
)
from registry.accounts.views.federation import begin_url, sign_out_url
from registry.accounts.views.signed_in import get_or_post
from registry.core.forms import answer
from registry.core.http import Request
from registry.core.views import safe_next


@never_cache
@sensitive_post_parameters("password")
@get_or_post
def sign_in(request: Request) -> HttpResponse:
    """One card. The demo accounts are forms that post their published password: no second way in."""
    wanted = safe_next(request, resolve_url(settings.LOGIN_REDIRECT_URL))
    if request.user.is_authenticated and request.method != "POST":
        return redirect(wanted)
    form = SignInForm(request.POST or None)
    if request.method == "POST" and settings.PASSWORD_SIGN_IN and form.is_valid():
        user = authenticate(
            request, username=form.cleaned_data["email"].lower(), password=form.cleaned_data["password"]
        )
        if user is not None:
            browser.sign_in(request, user)
            return redirect(wanted)
        form.add_error(None, _("This e-mail address and password do not belong together. Mind capital letters."))
    if settings.OIDC_PROVIDERS:
        form.fields["email"].widget.attrs.pop("autofocus")  # most people press a button above it
    context = {
        "providers": [(provider, begin_url(name, wanted=wanted)) for name, provider in settings.OIDC_PROVIDERS.items()],
        "password_sign_in": settings.PASSWORD_SIGN_IN,
        "demo": demo_sign_ins(),
        "demo_password": DEMO_PASSWORD,
        "next": wanted,
    }
    return answer(request, "accounts/sign_in.html", form, context)


def locked_out(request: Request, response: Any = None, credentials: Any = None, **kwargs: Any) -> HttpResponse:
    """After too many failures for one address from one place (django-axes); a pause, not a block."""
    minutes = int(settings.AXES_COOLOFF_TIME * 60)
    page = render(request, "accounts/locked_out.html", {"minutes": minutes}, status=429)
    page["Retry-After"] = str(minutes * 60)
    return page


@never_cache
@require_POST
def sign_out(request: Request) -> HttpResponse:
    """Here, and at the provider one came from. A form may not lead to another host (CSP), so a page does."""
    elsewhere = sign_out_url(request)
    logout(request)
    response = (
        render(request, "accounts/signed_out.html", {"url": elsewhere})
        if elsewhere
        else redirect(settings.LOGOUT_REDIRECT_URL)
    )
    response["Clear-Site-Data"] = '"cache"'  # going back shows nothing of whoever was here
    return response
