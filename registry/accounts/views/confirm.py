"""Proving once more who one is, before an act that asks for it."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import authenticate
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from registry.accounts import browser, services
from registry.accounts.forms import ConfirmForm
from registry.accounts.views.federation import begin_url
from registry.accounts.views.signed_in import get_or_post, signed_in
from registry.core.forms import answer
from registry.core.http import Request
from registry.core.kept_input import KeptInput, kept
from registry.core.step_up import is_recent
from registry.core.views import safe_next


@never_cache
@sensitive_post_parameters("password")
@get_or_post
def confirm(request: Request) -> HttpResponse:
    """Asks for the password, or sends to the provider; then shows what was about to be sent, for the person to send.

    Nothing is sent by itself: what was typed an hour ago may not be what one wants now.
    """
    actor = signed_in(request)
    key = request.POST.get("kept") or request.GET.get("kept") or ""
    waiting = kept(request, key)
    wanted = safe_next(request, waiting.page if waiting else resolve_url(settings.LOGIN_REDIRECT_URL))
    form = ConfirmForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            user = authenticate(request, username=actor.user.email, password=form.cleaned_data["password"])
        except PermissionDenied:
            user = None
        if user is not None and user.pk == actor.user_id and settings.PASSWORD_SIGN_IN:
            browser.proven(request)
            services.record_presence(
                user=actor.user,
                act="user.confirmed",
                request_id=actor.request_id,
                data={"address": request.META.get("REMOTE_ADDR", "")},
            )
            return redirect(_here(key, wanted))
        form.add_error("password", _("This is not your password. Mind capital letters."))
    elif is_recent(actor):
        return _go_on(request, waiting, wanted)
    context = {
        "waiting": waiting,
        "kept": key,
        "next": wanted,
        "password_sign_in": settings.PASSWORD_SIGN_IN and actor.user.has_usable_password(),
        "providers": [
            (settings.OIDC_PROVIDERS[name], begin_url(name, wanted=_here(key, wanted), purpose="confirm"))
            for name in _ways(request)
        ],
    }
    return answer(request, "accounts/confirm.html", form, context)


def _here(key: str, wanted: str) -> str:
    return f"{resolve_url('accounts:confirm')}?{urlencode({'kept': key, 'next': wanted})}"


def _ways(request: Request) -> list[str]:
    """The providers that can vouch for this person: that of the session first."""
    linked = request.actor.user.identities.values_list("provider", flat=True)
    names = [name for name in settings.OIDC_PROVIDERS if name in set(linked)]
    return sorted(names, key=lambda name: name != request.session.get(browser.PROVIDER))


def _go_on(request: Request, waiting: KeptInput | None, wanted: str) -> HttpResponse:
    if waiting is None:
        if request.GET.get("kept"):
            messages.info(request, _("Please send it once more; what you entered was not kept any longer."))
        return redirect(wanted)
    return render(request, "accounts/confirmed.html", {"waiting": waiting})
