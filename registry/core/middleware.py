"""Renders a `RegistryError` that reached the top as a page; the API renders its own (core.api).

An address that only takes an act leads whoever wants to see it to its page (core.acts).
"""

from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import escape_leading_slashes, urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from registry.core import limits
from registry.core.acts import page_above, reads_act
from registry.core.errors import Malformed, NotSignedIn, RegistryError, StepUpRequired, TookTooLong
from registry.core.http import is_file
from registry.core.inert import visible_page
from registry.core.kept_input import keep
from registry.core.rest import stopped
from registry.core.views import MACHINES, error_page

PERMISSIONS_POLICY = ", ".join(
    f"{power}=()"
    for power in (
        "accelerometer", "autoplay", "camera", "display-capture", "encrypted-media", "geolocation", "gyroscope", "hid",
        "magnetometer", "microphone", "midi", "payment", "picture-in-picture", "publickey-credentials-get", "serial",
        "usb", "xr-spatial-tracking",
    )
)  # fmt: skip
NULL_REFUSED = gettext_lazy("A null character is no part of any text.")
PUBLISHED = ("/v0.1/", "/r/")
"""What clients read without signing in refuses in the words of its own specification."""
UNSENT = "unsent"
"""In the address of a page one comes to after signing in: what was sent before was not taken."""


class AddressMiddleware:
    """Who is calling, where a proxy of ours stands in front: what it wrote, not what the caller wrote before it.

    Each trusted proxy appends one address to X-Forwarded-For, so the caller's stands PROXY_HOPS from the right.
    Everything that asks for an address after this (limits, networks, locks, evidence) asks REMOTE_ADDR.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if settings.BEHIND_PROXY:
            written = [each.strip() for each in request.headers.get("X-Forwarded-For", "").split(",")]
            with suppress(ValueError, IndexError):
                request.META["REMOTE_ADDR"] = str(ip_address(written[-settings.PROXY_HOPS]))
        return self.get_response(request)


class LimitsMiddleware:
    """Refuses what is too big or comes too often, and tells every counted caller what is left.

    Stands after the actor is known. A caller with a bearer token is counted when it has been read.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            limits.refuse_oversized(request)
        except RegistryError as error:
            response = error_page(request, error)
            response["Connection"] = "close"  # what was sent is not read
            return response
        own_words = request.path_info.startswith(PUBLISHED)
        if not own_words and ("\0" in request.path_info or _holds_null(request.GET)):
            return error_page(request, Malformed(str(NULL_REFUSED)))
        response = self.get_response(request)
        if is_file(response):
            try:
                limits.count_file(request)
            except limits.TooOften as error:
                response.close()
                response = error_page(request, error)
        state = getattr(request, "rate", None)
        if state is not None:
            for name, value in state.headers().items():
                response[name] = value
        return response

    def process_view(self, request: HttpRequest, *_view: Any) -> HttpResponse | None:
        if request.method == "POST" and not request.path_info.startswith(MACHINES) and _holds_null(request.POST):
            return error_page(request, Malformed(str(NULL_REFUSED)))
        if limits.waits_for_credential(request):
            return None
        try:
            limits.count(request)
        except limits.TooOften as error:
            return error_page(request, error)
        return None


def _holds_null(given: QueryDict) -> bool:
    """No database takes a null character in a text, and nobody types one; names of fields count too."""
    return any("\0" in name or any("\0" in value for value in values) for name, values in given.lists())


class SafetyMiddleware:
    """What holds for every answer: no hidden characters in pages, nothing kept in a cache unasked, no powers.

    Text of strangers may turn around what follows it, or hold words that only a program reads. Escaping leaves such
    characters alone; here they are spelled out, whatever template they came through.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        page = not response.streaming and response.headers.get("Content-Type", "").startswith("text/html")
        if page and (inert := visible_page(response.content)) is not response.content:
            response.content = inert
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        # Asked for again every time; going back still finds a half-filled form. Signing out empties the cache.
        response.headers.setdefault("Cache-Control", "private, no-cache")
        return response


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
        if stopped(error):
            error = TookTooLong()
        if not isinstance(error, RegistryError):
            return None
        if isinstance(error, NotSignedIn) and not request.headers.get("HX-Request"):
            return _to_sign_in(request)
        if isinstance(error, StepUpRequired):
            return _to_confirm(request, error)
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


def _to_confirm(request: HttpRequest, error: StepUpRequired) -> HttpResponse:
    """To the page that asks who it is. What was sent waits there, to be sent again by the person."""
    query = {"kept": keep(request, error.doing)} if request.method == "POST" else {"next": request.get_full_path()}
    confirm = f"{reverse('accounts:confirm')}?{urlencode(query)}"
    if not request.headers.get("HX-Request"):
        return redirect(confirm)
    page = render(request, "components/_error.html", {"error": error, "status": error.status}, status=error.status)
    page["HX-Redirect"] = confirm
    return page


def _say_unsent(request: HttpRequest) -> HttpResponse:
    query = request.GET.copy()
    del query[UNSENT]
    messages.warning(
        request, _("You were signed out meanwhile, so what you sent was not saved. Please look, and send it again.")
    )
    # A path that begins with two slashes would be the address of another host.
    page = escape_leading_slashes(request.path)
    return redirect(f"{page}?{query.urlencode()}" if query else page)
