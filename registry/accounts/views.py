"""Signing in and out, one's own account and tokens, people and teams."""

from functools import partial
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import authenticate, login, logout, update_session_auth_hash
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render, resolve_url
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from registry.accounts import services
from registry.accounts.demo import DEMO_PASSWORD, demo_sign_ins
from registry.accounts.filters import TeamFilter, UserFilter
from registry.accounts.forms import (
    MembersForm,
    PasswordForm,
    PersonForm,
    PreferencesForm,
    RolesForm,
    SignInForm,
    TeamForm,
    TokenForm,
)
from registry.accounts.models import User
from registry.accounts.queries import people_visible_to, teams_visible_to, tokens_visible_to
from registry.core.actors import Actor
from registry.core.errors import NotSignedIn
from registry.core.filtering import chosen
from registry.core.forms import answer, run, status_of
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.panels import panels_for
from registry.core.permissions import allows, require
from registry.core.views import safe_next

get_or_post = require_http_methods(["GET", "HEAD", "POST"])


def _signed_in(request: Request) -> Actor:
    if request.actor.user is None:
        raise NotSignedIn
    return request.actor


# --- Signing in and out ------------------------------------------------------------------------------------


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
            login(request, user)
            return redirect(wanted)
        form.add_error(None, _("This e-mail address and password do not belong together. Mind capital letters."))
    context = {
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


@require_POST
def sign_out(request: Request) -> HttpResponse:
    logout(request)
    return redirect(settings.LOGOUT_REDIRECT_URL)


# --- One's own account -------------------------------------------------------------------------------------


def _account_page(
    request: Request, *, preferences: PreferencesForm | None = None, password: PasswordForm | None = None
) -> HttpResponse:
    user = _signed_in(request).user
    refused = next((form for form in (preferences, password) if form is not None), None)
    context = {
        "nav": "account",
        "person": user,
        "roles": _role_words(user),
        "teams": user.teams.order_by("name"),
        "preferences": preferences or PreferencesForm(initial={"single_keys": user.single_keys}),
        "password_form": password or PasswordForm(),
        "password_sign_in": settings.PASSWORD_SIGN_IN and user.has_usable_password(),
    }
    return render(request, "accounts/account.html", context, status=status_of(refused) if refused else 200)


def _role_words(user: User) -> list[str]:
    return [str(label) for value, label in User.roles.field.base_field.choices if value in user.roles]  # type: ignore[union-attr]


@get_or_post
def account(request: Request) -> HttpResponse:
    actor = _signed_in(request)
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
    user = run(form, partial(services.change_password, actor=_signed_in(request)))
    if user is None:
        return _account_page(request, password=form)
    update_session_auth_hash(request, user)  # this browser stays signed in, every other is signed out
    messages.success(request, _("Your password is changed. Other browsers are signed out."))
    return redirect("accounts:account")


@never_cache
@get_or_post
def tokens(request: Request) -> HttpResponse:
    """One's tokens, and the form for a new one.

    The secret is part of the answer to the POST and of nothing else: a redirect would have to store it somewhere.
    """
    actor = _signed_in(request)
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
    actor = _signed_in(request)
    token = get_object_or_404(tokens_visible_to(actor), pk=pk)
    back = redirect("accounts:tokens") if actor.is_person(token.user_id) else redirect("accounts:person", token.user_id)
    if request.method != "POST":
        return render(request, "accounts/revoke_token.html", {"nav": "account", "token": token, "back": back.url})
    services.revoke_token(actor=actor, token=token)
    messages.success(request, _("%(token)s is revoked. Calls with it are refused from now on.") % {"token": token.name})
    return back


# --- People ------------------------------------------------------------------------------------------------


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
            "rows": [(user, _role_words(user)) for user in page],
            "may_manage": allows(request.actor, "accounts.manage_people"),
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
            messages.success(request, _("%(name)s can sign in now.") % {"name": user.name})
            return redirect("accounts:person", user.pk)
    return answer(request, "accounts/new_person.html", form, {"nav": "people"})


def _person_page(request: Request, user: User, form: RolesForm | None = None) -> HttpResponse:
    actor = request.actor
    may_manage = allows(actor, "accounts.manage_people")
    context = {
        "nav": "people",
        "person": user,
        "roles": _role_words(user),
        "teams": user.teams.order_by("name"),
        "may_manage": may_manage,
        "form": form or (RolesForm(initial={"roles": user.roles}) if may_manage else None),
        "panels": panels_for("person", user.pk),
        "tokens": tokens_visible_to(actor).filter(user=user) if allows(actor, "accounts.view_all_tokens") else None,
    }
    return render(request, "accounts/person.html", context, status=status_of(form) if form else 200)


@require_safe
def person(request: Request, pk: Any) -> HttpResponse:
    _signed_in(request)
    return _person_page(request, get_object_or_404(people_visible_to(request.actor), pk=pk))


@require_POST
def roles(request: Request, pk: Any) -> HttpResponse:
    _signed_in(request)
    user = get_object_or_404(people_visible_to(request.actor), pk=pk)
    form = RolesForm(request.POST)
    if run(form, partial(services.set_roles, actor=request.actor, user=user)) is None:
        return _person_page(request, user, form)
    messages.success(request, _("The roles of %(name)s are set.") % {"name": user.name})
    return redirect("accounts:person", user.pk)


@require_POST
def standing(request: Request, pk: Any) -> HttpResponse:
    """Somebody left, or came back. Nothing of theirs is deleted."""
    _signed_in(request)
    user = get_object_or_404(people_visible_to(request.actor), pk=pk)
    user = services.set_active(actor=request.actor, user=user, active=request.POST.get("active") == "true")
    words = (
        _("%(name)s can act again.") if user.is_active else _("%(name)s can no longer sign in; tokens are refused too.")
    )
    messages.success(request, words % {"name": user.name})
    return redirect("accounts:person", user.pk)


# --- Teams -------------------------------------------------------------------------------------------------


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
    _signed_in(request)
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
