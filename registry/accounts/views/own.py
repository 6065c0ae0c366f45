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

from registry.accounts import services
from registry.accounts.forms import (
    PasswordForm,
    PreferencesForm,
)
from registry.accounts.views.signed_in import get_or_post, role_words, signed_in
from registry.core.forms import run, status_of
from registry.core.http import Request


def _account_page(
    request: Request, *, preferences: PreferencesForm | None = None, password: PasswordForm | None = None
) -> HttpResponse:
    user = signed_in(request).user
    refused = next((form for form in (preferences, password) if form is not None), None)
    context = {
        "nav": "account",
        "person": user,
        "roles": role_words(user),
        "teams": user.teams.order_by("name"),
        "preferences": preferences or PreferencesForm(initial={"single_keys": user.single_keys}),
        "password_form": password or PasswordForm(),
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
    user = run(form, partial(services.change_password, actor=signed_in(request)))
    if user is None:
        return _account_page(request, password=form)
    update_session_auth_hash(request, user)  # this browser stays signed in, every other is signed out
    messages.success(request, _("Your password is changed. Other browsers are signed out."))
    return redirect("accounts:account")
