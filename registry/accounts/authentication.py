"""Who calls the REST API: bearer tokens and browser sessions."""

from typing import Any

from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from registry.accounts.models import ApiToken, User
from registry.accounts.queries import usable_token
from registry.accounts.services import note_token_use
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import NotAllowed, NotSignedIn


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer TOKEN` (RFC 6750)."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        now = clock.now()
        token = usable_token(secret.strip(), now)
        if token is None:
            raise NotSignedIn("This token is unknown, expired or revoked.")
        note_token_use(token=token, now=now, address=request.META.get("REMOTE_ADDR"))
        inner: Any = request._request  # where the middleware put the anonymous actor
        inner.actor = Actor(
            "token",
            user=token.user,
            scopes=frozenset(token.scopes),
            token_id=token.pk,
            request_id=inner.actor.request_id,
        )
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="registry"'


class _CsrfCheck(CsrfViewMiddleware):
    def _reject(self, request: Any, reason: str) -> Any:
        return reason


class SessionAuthentication(BaseAuthentication):
    """The browser's session, so that the docs page can try calls; writes need the CSRF token."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        user = getattr(request._request, "user", None)
        if user is None or not user.is_authenticated:
            return None
        check: Any = _CsrfCheck(lambda _: HttpResponse())
        check.process_request(request._request)
        if reason := check.process_view(request._request, None, (), {}):
            raise NotAllowed(f"CSRF check failed: {reason}")
        return user, None


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = SessionAuthentication
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
