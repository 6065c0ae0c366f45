"""The API's documentation inside the shell: a first call, the conventions, the errors, then the reference."""

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from registry.core import scopes
from registry.core.errors import RegistryError
from registry.core.http import Request


@dataclass(frozen=True)
class ErrorCode:
    code: str
    status: int
    title: str


def error_codes() -> list[ErrorCode]:
    """Every problem the services can answer with, from their own classes: `type` links to these anchors."""
    found: dict[str, ErrorCode] = {}
    waiting = list(RegistryError.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if "code" in vars(kind):
            found[kind.code] = ErrorCode(kind.code, kind.status, kind.title)
    return sorted(found.values(), key=lambda error: (error.status, error.code))


@require_safe
def api_docs(request: Request) -> HttpResponse:
    base = request.build_absolute_uri("/").rstrip("/")
    context = {
        "nav": "api",
        "base": base,
        "errors": error_codes(),
        "scopes": scopes.known(),
        "schema_url": reverse("portal:openapi"),
    }
    return render(request, "portal/api_docs.html", context)
