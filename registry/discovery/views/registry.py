"""The official registry read API under `/v0.1`, for VS Code, Copilot and whatever else reads it (specification
2025-12-01), with its own error body, and open to scripts of any origin.

Clients send no credentials, so the door is open where PUBLISH_ANONYMOUS says so. Elsewhere readers sign in, send a
token, or come by the address that holds PUBLISH_PATH_TOKEN.
"""

from collections.abc import Callable
from functools import wraps
from hashlib import sha256
from hmac import compare_digest
from typing import Any
from urllib.parse import unquote

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.utils.http import parse_etags
from django.views.decorators.csrf import csrf_exempt
from rest_framework.request import Request as ApiRequest

from registry.accounts.authentication import TokenAuthentication
from registry.core.errors import NotFound, RegistryError
from registry.core.http import Request
from registry.core.permissions import require
from registry.discovery import offering

View = Callable[..., HttpResponse]
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
}
ALLOW = "GET, HEAD, OPTIONS"
FRESH_SECONDS = 60
"""How long a client may go without asking again; a withdrawal is known everywhere after this time and a sweep."""


def admit(request: Request, door: str | None) -> None:
    """Let in who may read what is published. `door` is the token of the address, None without one.

    Raises `NotFound` for a wrong one, `NotSignedIn` or `NotAllowed` where the door is not open to everybody.
    """
    if door is not None:
        known = settings.PUBLISH_PATH_TOKEN
        if not known or not compare_digest(door.encode(), known.encode()):
            raise NotFound("Not found")
        return
    if settings.PUBLISH_ANONYMOUS:
        return
    TokenAuthentication().authenticate(ApiRequest(request))
    require(request.actor, "discovery.view")


def is_open(door: str | None) -> bool:
    """Whether an answer may be kept by a cache that several readers share."""
    return door is None and settings.PUBLISH_ANONYMOUS


def tagged(request: HttpRequest, content: bytes, content_type: str, *, door: str | None) -> HttpResponse:
    """`content` with an entity tag of itself, or 304 to whoever has it already."""
    etag = f'"{sha256(content).hexdigest()[:32]}"'
    known = parse_etags(request.headers.get("If-None-Match", ""))
    # A proxy that compresses makes our tag a weak one.
    same = "*" in known or etag in {each.removeprefix("W/") for each in known}
    answer = HttpResponseNotModified() if same else HttpResponse(content, content_type=content_type)
    answer["ETag"] = etag
    answer["Cache-Control"] = f"{'public' if is_open(door) else 'private'}, max-age={FRESH_SECONDS}"
    if not is_open(door):
        answer["Vary"] = "Authorization, Cookie"
    return answer


def _said(status: int, message: str) -> HttpResponse:
    return HttpResponse(offering.encoded({"error": message}), content_type="application/json", status=status)


def api(answer_to: Callable[..., Any]) -> View:
    """A read of the API: `answer_to(request, **arguments)` gives the body."""

    @csrf_exempt
    @wraps(answer_to)
    def view(request: Request, door: str | None = None, **arguments: str) -> HttpResponse:
        if request.method == "OPTIONS":
            response = HttpResponse(status=204, headers={"Allow": ALLOW, "Access-Control-Max-Age": "86400"})
        elif request.method not in ("GET", "HEAD"):
            response = _said(405, "This registry publishes what it approved itself; it is only read here")
            response["Allow"] = ALLOW
        else:
            try:
                admit(request, door)
                content = offering.encoded(answer_to(request, **arguments))
                response = tagged(request, content, "application/json", door=door)
            except RegistryError as error:
                response = _said(error.status, error.message)
                if error.status == 401:
                    response["WWW-Authenticate"] = 'Bearer realm="registry"'
        for name, value in CORS.items():
            response[name] = value
        return response

    return view


def _query(request: HttpRequest) -> dict[str, str]:
    return {name: str(request.GET[name]) for name in request.GET}


@api
def servers(request: Request) -> dict[str, Any]:
    page = offering.page_of(offering.asked(_query(request)))
    metadata: dict[str, Any] = {"count": len(page.servers)}
    if page.cursor:
        metadata["nextCursor"] = page.cursor
    return {"servers": page.servers, "metadata": metadata}


@api
def versions(request: Request, name: str) -> dict[str, Any]:
    found = offering.versions_of(unquote(name), include_deleted=offering.including_deleted(_query(request)))
    return {"servers": found, "metadata": {"count": len(found)}}


@api
def version(request: Request, name: str, version: str) -> dict[str, Any]:
    deleted = offering.including_deleted(_query(request))
    return offering.version_of(unquote(name), version, include_deleted=deleted)


@api
def nothing(request: Request, rest: str) -> Any:
    raise NotFound("Not found")
