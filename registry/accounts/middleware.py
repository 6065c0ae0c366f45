"""Whether a session still stands, and `request.actor` on every request: who acts, as services want to know it."""

from collections.abc import Callable

import structlog
from auditlog.context import set_actor
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from registry.accounts import browser
from registry.accounts.openid.errors import ProviderFailed
from registry.accounts.openid.metadata import metadata_of, provider_named
from registry.core.actors import Actor
from registry.core.errors import NotAllowed, NotFound
from registry.core.http import Request
from registry.core.views import MACHINES, error_page


class SessionLifeMiddleware:
    """Ends sessions that are too old, idle for too long, or no longer vouched for by their provider."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not self._is_on_its_way(request):
            try:
                ended = browser.look(request)
            except browser.RoundTrip as trip:
                if self._provider_answers(request):
                    return self._around(request)
                ended = trip.ended
            if ended:
                self._end(request, ended)
        return self.get_response(request)

    def _is_on_its_way(self, request: HttpRequest) -> bool:
        """To a provider, back from it, or out: nothing there is for the person of the session."""
        return request.path.startswith("/oidc/") or request.path == reverse("accounts:sign_out")

    def _end(self, request: HttpRequest, sentence: str) -> None:
        request.session_ended = sentence  # type: ignore[attr-defined]
        logout(request)
        if not request.path.startswith("/api/"):
            messages.warning(request, sentence)

    def _provider_answers(self, request: HttpRequest) -> bool:
        try:
            return bool(metadata_of(provider_named(request.session[browser.PROVIDER])))
        except (ProviderFailed, NotFound):
            return False

    def _around(self, request: HttpRequest) -> HttpResponse:
        begin = reverse("accounts:oidc_begin", args=[request.session[browser.PROVIDER]])
        return redirect(f"{begin}?{urlencode({'purpose': 'refresh', 'next': request.get_full_path()})}")


class ActorMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: Request) -> HttpResponse:
        request_id = str(structlog.contextvars.get_contextvars().get("request_id", ""))
        user = request.user if request.user.is_authenticated else None
        request.actor = (
            Actor.person(user, request_id, authenticated_at=browser.authenticated_at(request))
            if user
            else Actor.anonymous()
        )
        # Field-level history (django-auditlog) names the same person as the evidence does.
        with set_actor(user, remote_addr=request.META.get("REMOTE_ADDR")):
            response = self.get_response(request)
        if request_id:
            response["X-Request-ID"] = request_id
        return response


class OwnPasswordMiddleware:
    """Whoever has a password that somebody else chose sets their own before anything else: nobody acts as two."""

    WAY = ("accounts:account", "accounts:password", "accounts:sign_out")

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: Request) -> HttpResponse:
        user = request.actor.user
        if user is None or not user.password_given or request.path in map(reverse, self.WAY):
            return self.get_response(request)
        if request.path.startswith(MACHINES) or request.headers.get("HX-Request"):
            said = _("Somebody else chose your password. Set your own on your account page, then go on.")
            return error_page(request, NotAllowed(said))
        return redirect("accounts:account")
