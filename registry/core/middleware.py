"""Renders a `RegistryError` that reached the top as a page; the API renders its own (core.api)."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from registry.core.errors import NotSignedIn, RegistryError


class ErrorMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, RegistryError):
            return None
        if isinstance(error, NotSignedIn) and not request.headers.get("HX-Request"):
            return redirect(f"{reverse('accounts:sign_in')}?{urlencode({'next': request.get_full_path()})}")
        fragment = bool(request.headers.get("HX-Request"))
        template = "components/_error.html" if fragment else "core/error.html"
        return render(request, template, {"error": error, "status": error.status}, status=error.status)
