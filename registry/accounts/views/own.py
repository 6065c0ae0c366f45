"""One's own account."""

from functools import partial

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from registry.accounts import browser, services
from registry.accounts.forms import (
    PasswordForm,
    PreferencesForm,
)
from registry.accounts.presentation import grants_of, sessions_of
from registry.accounts.queries import whom_to_ask
from registry.accounts.views.signed_in import get_or_post, role_words, signed_in
from registry.core.forms import run, status_of
from registry.core.http import Request


def _account_page(
    request: Request, *, preferences: PreferencesForm | None = None, password: PasswordForm | None = None
) -> HttpResponse:
    user = signed_in(request).user
    roles = role_words(user)
    refused = next((form for form in (preferences, password) if form is not None), None)
    context = {
        "nav": "account",
        "person": user,
        "roles": roles,
        "teams": user.teams.order_by("name"),
        "preferences": preferences or PreferencesForm(initial={"single_keys": user.single_keys}),
        "password_form": password or PasswordForm(),
        "sessions": sessions_of(user, browser.row_of(request)),
        "grants": grants_of(user),
        "ask": [] if roles else whom_to_ask(request.actor),
        "password_sign_in": settings.PASSWORD_SIGN_IN and user.has_usable_password(),
    }
    return render(request, "accounts/account.html", context, status=status_of(refused) if refused else 200)


@get_or_post
def account(request: Request) -> HttpResponse:
    actor = signed_in(request)
    if request.method != "POST":
        return _account_page(request)
    form = PreferencesForm(request.POST)
    if run(form, partial(services.set_preferences, actor=actor)) is None:
        return _account_page(request, preferences=form)
    messages.success(request, _("Saved."))
    return redirect("accounts:account")


@sensitive_post_parameters()
@require_POST
def password(request: Request) -> HttpResponse:
    form = PasswordForm(request.POST)
    act = partial(services.change_password, actor=signed_in(request), keep_session=browser.row_of(request))
    user = run(form, act)
    if user is None:
        return _account_page(request, password=form)
    update_session_auth_hash(request, user)  # this browser stays signed in, every other is signed out
    browser.follow(request)
    messages.success(request, _("Your password is changed. Other browsers are signed out."))
    return redirect("accounts:account")
