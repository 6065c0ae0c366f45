"""The API's documentation inside the shell: a first call, the conventions, the errors, then the reference."""

import hashlib
from dataclasses import dataclass
from threading import Lock

import orjson
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.translation import get_language
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator

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


@dataclass(frozen=True)
class Description:
    """The OpenAPI document as it goes out, and its ETag."""

    body: bytes
    etag: str


_descriptions: dict[str, Description] = {}
_making = Lock()


def description() -> Description:
    """In the language of the request, made once per process: it takes a second or two, and says the same to everybody.

    Whoever asks while it is being made waits for it instead of making another.
    """
    language = get_language() or ""
    with _making:
        if language not in _descriptions:
            body = orjson.dumps(SchemaGenerator().get_schema(request=None, public=True), default=str)
            _descriptions[language] = Description(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
        return _descriptions[language]


OPENAPI, JSON = "application/vnd.oai.openapi+json", "application/json"


@require_safe
def openapi(request: Request) -> HttpResponseBase:
    """The description of the REST API, for everybody: it names no host and nothing of what is registered."""
    said = description()
    response: HttpResponseBase | None = get_conditional_response(request, etag=said.etag)
    if response is None:
        media_type = OPENAPI if request.accepts(OPENAPI) else JSON
        response = HttpResponse(said.body, content_type=media_type)
        response["Content-Disposition"] = 'inline; filename="openapi.json"'
    response["ETag"] = said.etag
    patch_vary_headers(response, ("Accept", "Accept-Language"))
    return response


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
