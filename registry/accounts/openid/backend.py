"""mozilla-django-oidc's backend for several providers, with our checks of tokens and our one door for requests."""

from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _
from mozilla_django_oidc.auth import OIDCAuthenticationBackend

from registry.accounts.models import ExternalIdentity, User
from registry.accounts.openid.client import Tokens, ask_tokens, with_user_info
from registry.accounts.openid.configuration import Provider
from registry.accounts.openid.errors import ProviderFailed, SignInRefused
from registry.accounts.openid.tokens import Claims, read_id_token
from registry.accounts.services import note_claims, sign_in_person

FLOW = {
    "OIDC_USE_PKCE": True,
    "OIDC_USE_NONCE": True,
    # Only so that the library finds some address; each provider has its own (`callback_url`).
    "OIDC_AUTHENTICATION_CALLBACK_URL": "accounts:sign_in",
}


@dataclass
class Attempt:
    """One way to a provider and back. What it came back with is filled in by the backend."""

    provider: Provider
    purpose: str
    """`sign-in`, `confirm` (prove again who you are) or `refresh` (ask without showing anything)."""
    wanted: str
    begun_at: float
    tokens: Tokens = field(default_factory=Tokens)
    claims: Claims = field(default_factory=dict)
    identity: ExternalIdentity | None = None


def callback_url(request: HttpRequest, provider: Provider) -> str:
    """Each provider answers at an address of its own, so that none can answer in another's name (RFC 9700, 4.4)."""
    return request.build_absolute_uri(reverse("accounts:oidc_callback", args=[provider.name]))


class ProviderBackend(OIDCAuthenticationBackend):
    """Only for a request that carries an `Attempt` in `oidc`, which the callback view put there."""

    request: Any

    def __init__(self) -> None:
        # The library's own reads one provider's endpoints from the settings; here they are discovered.
        pass

    def get_settings(self, attr: str, *default: Any) -> Any:
        return FLOW.get(attr, *default)

    def authenticate(self, request: Any, **kwargs: Any) -> User | None:
        attempt: Attempt | None = getattr(request, "oidc", None)
        if attempt is None or "nonce" not in kwargs:
            return None
        self.OIDC_RP_CLIENT_ID = attempt.provider.client_id
        self.OIDC_RP_CLIENT_SECRET = attempt.provider.client_secret
        found: User | None = super().authenticate(request, **kwargs)
        return found

    @property
    def attempt(self) -> Attempt:
        attempt: Attempt = self.request.oidc
        return attempt

    def get_token(self, payload: dict[str, Any]) -> dict[str, str]:
        form = {name: payload[name] for name in ("grant_type", "code", "code_verifier")}
        provider = self.attempt.provider
        tokens = ask_tokens(provider, {**form, "redirect_uri": callback_url(self.request, provider)})
        if not tokens.id_token:
            raise ProviderFailed(_("%(provider)s sent no ID token.") % {"provider": provider.title})
        self.attempt.tokens = tokens
        return {"id_token": tokens.id_token, "access_token": tokens.access_token}

    def verify_token(self, token: str, **kwargs: Any) -> Claims:
        """Signature, issuer, audience, times and nonce; the library checks only the first and the last of these."""
        return read_id_token(
            self.attempt.provider, token, nonce=kwargs["nonce"] or "", access_token=self.attempt.tokens.access_token
        )

    def store_tokens(self, access_token: str, id_token: str) -> None:
        """They go, sealed, beside the session (services.sessions), not into it."""

    def get_or_create_user(self, access_token: str, id_token: str, payload: Claims) -> User:
        attempt = self.attempt
        attempt.claims = with_user_info(attempt.provider, access_token, payload)
        attempt.identity = (
            sign_in_person(provider=attempt.provider, claims=attempt.claims)
            if attempt.purpose == "sign-in"
            else self._of_whoever_is_here(payload["sub"])
        )
        return User.objects.get(pk=attempt.identity.user_id)

    def _of_whoever_is_here(self, subject: str) -> ExternalIdentity:
        """Proving again who one is adds nobody: it is the identity of the person in this browser, or it is refused."""
        user = self.request.user
        found = ExternalIdentity.objects.filter(
            issuer=self.attempt.provider.issuer, subject=subject, user=user.pk if user.is_authenticated else None
        ).first()
        if found is None:
            raise SignInRefused(_("You are signed in at the provider as somebody else."))
        note_claims(identity=found, claims=self.attempt.claims, complete=True)
        return found

    def get_user(self, user_id: Any) -> Any:
        """Nobody who was deactivated; the library's own does not ask."""
        return ModelBackend.get_user(self, user_id)
