"""Who calls the REST API: bearer tokens, workloads with their issuer's JWT, and browser sessions."""

from types import MappingProxyType
from typing import Any

from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from registry.accounts.models import ApiToken, ServicePrincipal, User
from registry.accounts.networks import may_come_from
from registry.accounts.queries import principal_of, usable_token
from registry.accounts.services import note_principal_use, note_token_use, token_hash
from registry.accounts.workload_tokens import looks_like_jwt, prove
from registry.core import clock, limits
from registry.core.actors import Actor
from registry.core.errors import NotAllowed, NotSignedIn


def _refuse_resting(user: User, what: str) -> None:
    if user.is_resting:
        raise NotSignedIn(
            f"This {what} rests: the identity provider of whom it acts for does not confirm them any more. "
            "It works again as soon as they sign in here."
        )


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer TOKEN` (RFC 6750): an API token, or the JWT of a workload (RFC 7523 without the detour).

    Here the caller becomes known, so here the call is counted, one that failed for the address it came from.
    """

    def authenticate(self, request: Request) -> tuple[User, ApiToken | ServicePrincipal] | None:
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        inner: Any = request._request  # where the middleware put the anonymous actor
        secret, address = secret.strip(), inner.META.get("REMOTE_ADDR")
        try:
            identify = self._workload if looks_like_jwt(secret) else self._token
            actor, credential = identify(secret, address, inner.actor.request_id)
        except NotSignedIn:
            limits.count(inner)
            raise
        inner.actor = actor
        limits.count(inner)
        return actor.user, credential

    def _token(self, secret: str, address: str | None, request_id: str) -> tuple[Actor, ApiToken]:
        now = clock.now()
        token = usable_token(secret, now)
        if token is None:
            raise NotSignedIn("This token is unknown, expired or revoked.")
        if not may_come_from(address, token.networks):
            raise NotSignedIn(f"This token may not be used from {address}.")
        _refuse_resting(token.user, "token")
        note_token_use(token=token, now=now, address=address, earlier_secret=token.sha256 != token_hash(secret))
        actor = Actor(
            "token", user=token.user, scopes=frozenset(token.scopes), token_id=token.pk, request_id=request_id
        )
        return actor, token

    def _workload(self, secret: str, address: str | None, request_id: str) -> tuple[Actor, ServicePrincipal]:
        now = clock.now()
        proven = prove(secret, now)
        principal = principal_of(proven)
        if principal is None:
            raise NotSignedIn("No active service principal is registered for this workload.")
        if not may_come_from(address, principal.networks):
            raise NotSignedIn(f"This workload may not call from {address}.")
        _refuse_resting(principal.owner, "workload")
        note_principal_use(principal=principal, now=now, address=address)
        said = {"principal": str(principal.pk), "issuer": proven.issuer.issuer, "sub": proven.subject}
        actor = Actor(
            "workload",
            user=principal.owner,
            scopes=frozenset(principal.scopes),
            token_id=principal.pk,
            display=principal.name,
            request_id=request_id,
            facts=MappingProxyType({"workload": said}),
        )
        return actor, principal

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
