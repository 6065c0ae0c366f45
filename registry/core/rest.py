"""What REST framework is configured with: scopes, problem+json (RFC 9457), a fast renderer.

REST framework imports these while it builds its own views, so nothing here may import a view (see core.api).
"""

import io
import json
from collections.abc import Mapping
from typing import Any

import orjson
import psycopg
import structlog
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import DataError, OperationalError
from django.http import Http404
from rest_framework import exceptions, parsers, permissions, renderers
from rest_framework.request import Request
from rest_framework.response import Response

from registry.core import nesting, scopes
from registry.core.actors import Actor
from registry.core.errors import (
    Invalid,
    Malformed,
    NotAllowed,
    NotFound,
    NotSignedIn,
    RegistryError,
    StepUpRequired,
    TookTooLong,
)
from registry.core.permissions import lacking, lacks, require

log = structlog.get_logger(__name__)


class JSONRenderer(renderers.BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        if data is None:
            return b""
        try:
            return orjson.dumps(data, default=str)
        except TypeError:  # a schema of a stranger may hold a number beyond 64 bits
            return json.dumps(data, default=str, ensure_ascii=False).encode()


class JSONParser(parsers.JSONParser):
    """JSON of limited depth. Its size is limited before it is read (`core.limits`)."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        raw: bytes = stream.read()
        if nesting.is_too_deep(raw):
            raise exceptions.ParseError(f"JSON parse error - nested deeper than {nesting.MOST} levels")
        return self.load(raw, media_type, parser_context)

    def load(self, raw: bytes, media_type: str | None, parser_context: Any) -> Any:
        """What the bytes say, once they are known not to nest too deeply."""
        return super().parse(io.BytesIO(raw), media_type, parser_context)


class Problem(RegistryError):
    """An error of the HTTP layer itself (method, media type, rate) in the same clothes as ours."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code, self.title = status, code, message
        super().__init__(message)


def pointer(path: str) -> str:
    """`tools.0.name` as an RFC 6901 pointer."""
    return "/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in path.split("."))


def problem(error: RegistryError, request_path: str = "") -> dict[str, Any]:
    """The RFC 9457 object; `errors` lists every field that needs attention."""
    body: dict[str, Any] = {
        "type": f"{settings.BASE_URL}/api/v1/docs#{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.message,
        "instance": request_path,
    }
    if error.fields:
        body["errors"] = [
            {"pointer": pointer(path), "detail": message}
            for path, messages in error.fields.items()
            for message in messages
        ]
    return body


def _flatten(detail: Any, path: str = "") -> dict[str, list[str]]:
    """DRF's nested error detail as our flat `fields`."""
    if isinstance(detail, Mapping):
        nested: dict[str, list[str]] = {}
        for name, inner in detail.items():
            nested.update(_flatten(inner, f"{path}.{name}" if path else str(name)))
        return nested
    if isinstance(detail, list) and any(isinstance(inner, Mapping | list) for inner in detail):
        nested = {}
        for index, inner in enumerate(detail):
            nested.update(_flatten(inner, f"{path}.{index}" if path else str(index)))
        return nested
    return {path: [str(message) for message in (detail if isinstance(detail, list) else [detail])]}


def stopped(error: BaseException) -> bool:
    """Whether the database ended a statement at STATEMENT_SECONDS."""
    return isinstance(error, OperationalError) and isinstance(error.__cause__, psycopg.errors.QueryCanceled)


def as_registry_error(error: Exception) -> RegistryError | None:
    """The registry's error for what DRF or Django raised; None for a genuine fault (500)."""
    if isinstance(error, RegistryError):
        return error
    if isinstance(error, exceptions.ValidationError):
        return Invalid(fields=_flatten(error.detail))
    if isinstance(error, exceptions.ParseError):
        return Malformed(str(error.detail))
    if stopped(error):
        return TookTooLong()
    if isinstance(error, DataError | RecursionError | UnicodeEncodeError):
        return Malformed("A value cannot be read as it is: a null character, half of one, or nested too deeply.")
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        return NotSignedIn(str(error.detail))
    if isinstance(error, Http404 | exceptions.NotFound):
        return NotFound()
    if isinstance(error, PermissionDenied | exceptions.PermissionDenied):
        return NotAllowed(str(error) or "")
    if isinstance(error, exceptions.APIException):
        return Problem(error.status_code, str(error.default_code).replace("_", "-"), str(error.detail))
    return None


def step_up_challenge(error: StepUpRequired) -> str:
    """As RFC 9470 says it: what was too long ago, and how long ago it may be."""
    return (
        'Bearer realm="registry", error="insufficient_user_authentication", '
        f'error_description="A more recent authentication is required", max_age="{error.max_age}"'
    )


def problem_handler(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """DRF's exception handler: everything known becomes problem+json, the rest stays a 500."""
    known = as_registry_error(error)
    if known is None:
        return None
    path = context["request"].get_full_path() if context.get("request") is not None else ""
    response = Response(problem(known, path), status=known.status, content_type="application/problem+json")
    if known.status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="registry"'
    if isinstance(known, StepUpRequired):
        response["WWW-Authenticate"] = step_up_challenge(known)
    for name in ("Allow", "Retry-After"):
        value = (getattr(error, "wait", None) or getattr(known, "wait", None)) if name == "Retry-After" else None
        if value:
            response[name] = str(int(value))
    return response


def actor_of(request: Request) -> Actor:
    """Who acts: put on the request by the middleware, or by the token's authentication; without either, nobody.

    Only the schema command comes without the middleware, with a request of its own making.
    """
    return getattr(request, "actor", None) or Actor.anonymous()


class ScopedRoom(permissions.BasePermission):
    """The coarse gate in front of the services: signed in, a member, and holding the scope to read this resource.

    A view names its room in `room`; which of the room's resources it shows is told by its URL name (`core.scopes`). For
    changes any writing scope of the room opens this gate; the fine decision is the service's.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        actor = actor_of(request)
        room = getattr(view, "room", "")
        if actor.kind == "anonymous":
            raise NotSignedIn
        if not room:
            return False
        reading = request.method in permissions.SAFE_METHODS or getattr(view, "only_reads", False)
        if not reading:
            if lacks(actor, f"{room}:write"):
                raise lacking(actor, f"{room}:write")
            return True
        require(actor, f"{room}.view")
        if actor.scopes is not None:
            match = request._request.resolver_match
            name = scopes.resource_of(room, match.url_name or "") if match else ""
            if lacks(actor, scope := f"{name or room}:read"):
                raise lacking(actor, scope)
        return True
