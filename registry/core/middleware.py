"""Renders a `RegistryError` that reached the top as a page; the API renders its own (core.api).

An address that only takes an act leads whoever wants to see it to its page (core.acts).
"""

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from registry.core.acts import page_above, reads_act
from registry.core.errors import NotSignedIn, RegistryError

UNSENT = "unsent"
"""In the address of a page one comes to after signing in: what was sent before was not taken."""


class ErrorMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method == "GET" and UNSENT in request.GET and request.user.is_authenticated:
            return _say_unsent(request)
        response = self.get_response(request)
        if reads_act(request, response):
            query = f"?{request.GET.urlencode()}" if request.GET else ""
            return redirect(f"{page_above(request.path)}{query}")
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, RegistryError):
            return None
        if isinstance(error, NotSignedIn) and not request.headers.get("HX-Request"):
            return _to_sign_in(request)
        fragment = bool(request.headers.get("HX-Request"))
        template = "components/_error.html" if fragment else "core/error.html"
        return render(request, template, {"error": error, "status": error.status}, status=error.status)


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    """To the sign-in and back to what was asked for; what was sent is not sent again, and that is said afterwards."""
    query = request.GET.copy()
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        query[UNSENT] = "1"
    wanted = f"{request.path}?{query.urlencode()}" if query else request.path
    return redirect(f"{reverse('accounts:sign_in')}?{urlencode({'next': wanted})}")


def _say_unsent(request: HttpRequest) -> HttpResponse:
    query = request.GET.copy()
    del query[UNSENT]
    messages.warning(
        request, _("You were signed out meanwhile, so what you sent was not saved. Please look, and send it again.")
    )
    return redirect(f"{request.path}?{query.urlencode()}" if query else request.path)
