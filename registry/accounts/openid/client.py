"""The calls this registry makes to a provider itself: tokens and user info."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from django.utils.translation import gettext as _

from registry.accounts.openid.configuration import Provider
from registry.accounts.openid.errors import GrantEnded, ProviderFailed, SignInRefused, TokenRefused
from registry.accounts.openid.metadata import ask, metadata_of
from registry.accounts.openid.tokens import Claims, read_id_token


@dataclass(frozen=True)
class Tokens:
    """What the token endpoint gave. Never logged, never shown."""

    access_token: str = field(default="", repr=False)
    id_token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)


def ask_tokens(provider: Provider, form: Mapping[str, str]) -> Tokens:
    """One question to the token endpoint. Raises `GrantEnded`, `SignInRefused`, `ProviderFailed`."""
    known = metadata_of(provider)
    data = {**form, "client_id": provider.client_id}
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if provider.client_secret and _uses_basic(provider, known.token_auth):
        del data["client_id"]
        # RFC 6749 section 2.3.1: both halves are form-encoded before they are joined.
        pair = f"{quote(provider.client_id, safe='')}:{quote(provider.client_secret, safe='')}"
        headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    elif provider.client_secret:
        data["client_secret"] = provider.client_secret
    status, body, _kind = ask("POST", known.token_endpoint, headers=headers, content=urlencode(data).encode())
    if status >= 500 or not isinstance(body, Mapping):
        raise ProviderFailed(_("%(provider)s answered with an error.") % {"provider": provider.title})
    if status != 200:
        if body.get("error") == "invalid_grant":
            raise GrantEnded(_("%(provider)s ended your session. Sign in again.") % {"provider": provider.title})
        if body.get("error") in ("invalid_client", "unauthorized_client"):
            raise ProviderFailed(
                _("%(provider)s does not accept this registry's client id or secret. Tell an administrator.")
                % {"provider": provider.title}
            )
        raise SignInRefused(_("%(provider)s refused the sign-in.") % {"provider": provider.title})
    if str(body.get("token_type", "")).lower() != "bearer":
        raise ProviderFailed(_("%(provider)s gave a token of an unknown kind.") % {"provider": provider.title})
    return Tokens(*(str(body.get(name) or "") for name in ("access_token", "id_token", "refresh_token")))


def _uses_basic(provider: Provider, offered: tuple[str, ...]) -> bool:
    if provider.token_auth:
        return provider.token_auth == "basic"  # noqa: S105 - a method, not a token
    return "client_secret_basic" in offered or "client_secret_post" not in offered


def refresh(provider: Provider, refresh_token: str, subject: str) -> tuple[Tokens, Claims]:
    """Ask whether the provider still vouches for `subject`, and what it says about them now.

    Raises `GrantEnded` when it does not, `ProviderFailed` when it cannot be asked.
    """
    tokens = ask_tokens(provider, {"grant_type": "refresh_token", "refresh_token": refresh_token})
    claims = read_id_token(provider, tokens.id_token, subject=subject) if tokens.id_token else {"sub": subject}
    return tokens, with_user_info(provider, tokens.access_token, claims)


def with_user_info(provider: Provider, access_token: str, claims: Claims) -> Claims:
    """`claims` and beside them what the user info endpoint says, which is the fresher of the two.

    What identifies the sign-in itself (issuer, subject, times) always comes from the signed token.
    """
    endpoint = metadata_of(provider).userinfo_endpoint
    if not endpoint or not access_token:
        return claims
    status, body, kind = ask("GET", endpoint, headers={"Authorization": f"Bearer {access_token}"})
    if status in (401, 403):
        raise GrantEnded(_("%(provider)s ended your session. Sign in again.") % {"provider": provider.title})
    if status != 200 or not isinstance(body, Mapping):
        what = (
            _("%(provider)s answered with an error.")
            if kind != "application/jwt"
            else _("%(provider)s signs its user info, which is not read here; configure it to answer with JSON.")
        )
        raise ProviderFailed(what % {"provider": provider.title})
    if body.get("sub") != claims["sub"]:
        raise TokenRefused(_("The provider's user info is about somebody else."))
    fixed: dict[str, Any] = {
        name: claims[name] for name in ("iss", "sub", "aud", "auth_time", "sid", "nonce") if name in claims
    }
    return {**claims, **body, **fixed}
