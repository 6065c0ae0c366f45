"""Reading an ID token: what OpenID Connect Core 3.1.3.7 demands, and what RFC 8725 warns of."""

import hashlib
import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from json import loads
from typing import Any

from django.utils.translation import gettext as _
from joserfc import jwt
from joserfc.errors import JoseError

from registry.accounts.openid.configuration import Provider
from registry.accounts.openid.errors import TokenRefused
from registry.accounts.openid.metadata import ALGORITHMS, key_for

LEEWAY = 60
"""Seconds that clocks may differ."""
OLDEST = 600
"""Seconds since a token was issued, when it comes straight from the provider."""
LONGEST_SUBJECT = 255
Claims = dict[str, Any]


def read_claims(provider: Provider, token: str, *, names_somebody: bool = True) -> Claims:
    """The claims of a token this provider signed for us, still valid. Raises `TokenRefused`, `ProviderFailed`.

    Who signed is decided by our configuration and the published keys, never by what the token says about itself.
    """
    header = _header(token)
    key = key_for(provider, header)
    try:
        claims = dict(jwt.decode(token, key, algorithms=list(ALGORITHMS)).claims)
    except (JoseError, ValueError, TypeError) as error:
        raise TokenRefused(_("The signature of the token is not valid.")) from error
    _check_audience(provider, claims)
    _check_times(claims)
    subject = claims.get("sub")
    if subject is None and not names_somebody:
        return claims
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
        raise TokenRefused(_("The token does not say who it is about."))
    return claims


def read_id_token(
    provider: Provider,
    token: str,
    *,
    nonce: str | None = None,
    access_token: str = "",
    subject: str = "",
) -> Claims:
    """As `read_claims`, for an ID token with the `nonce` of the attempt, or on refreshing about the same `subject`."""
    claims = read_claims(provider, token)
    if "events" in claims:
        raise TokenRefused(_("The token is not an ID token."))  # a logout token must not sign anybody in
    if nonce is not None and not hmac.compare_digest(str(claims.get("nonce") or ""), nonce or "-"):
        raise TokenRefused(_("The token answers another attempt to sign in."))
    if subject and claims["sub"] != subject:
        raise TokenRefused(_("The token is about somebody else."))
    said = claims.get("at_hash")
    if said is not None and access_token and not hmac.compare_digest(str(said), half_hash(access_token)):
        raise TokenRefused(_("The token belongs to another access token."))
    return claims


LOGOUT = "http://schemas.openid.net/event/backchannel-logout"


def read_logout_token(provider: Provider, token: str) -> Claims:
    """A provider's word that somebody signed out there (OpenID Connect Back-Channel Logout 1.0, 2.6)."""
    claims = read_claims(provider, token, names_somebody=False)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT), dict) or "nonce" in claims:
        raise TokenRefused(_("The token is not a logout token."))
    if not claims.get("sid") and not claims.get("sub"):
        raise TokenRefused(_("The token does not say whose session it ends."))
    return claims


def half_hash(value: str) -> str:
    """The left half of SHA-256, as `at_hash` has it for RS256 and ES256."""
    digest = hashlib.sha256(value.encode()).digest()
    return urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def _header(token: str) -> Mapping[str, Any]:
    try:
        first = token.split(".")[0]
        header = loads(urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    except (ValueError, RecursionError) as error:
        raise TokenRefused(_("The token cannot be read.")) from error
    if not isinstance(header, dict) or token.count(".") != 2 or "crit" in header:
        raise TokenRefused(_("The token cannot be read."))
    return header


def _check_audience(provider: Provider, claims: Claims) -> None:
    if claims.get("iss") != provider.issuer:
        raise TokenRefused(_("The token was issued by somebody else."))
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if provider.client_id not in audiences:
        raise TokenRefused(_("The token is meant for somebody else."))
    authorized = claims.get("azp")
    if authorized != provider.client_id and (authorized is not None or len(audiences) > 1):
        raise TokenRefused(_("The token was issued to another application."))


def _check_times(claims: Claims) -> None:
    now = time.time()
    expires, issued, begins = claims.get("exp"), claims.get("iat"), claims.get("nbf", 0)
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in (expires, issued, begins)):
        raise TokenRefused(_("The token does not say how long it is valid."))
    if expires <= now - LEEWAY:  # type: ignore[operator]
        raise TokenRefused(_("The token has expired."))
    if issued > now + LEEWAY or begins > now + LEEWAY:  # type: ignore[operator]
        raise TokenRefused(_("The token comes from the future: the clocks of the provider and of this server differ."))
    if issued < now - OLDEST:  # type: ignore[operator]
        raise TokenRefused(_("The token is too old."))


def authenticated_at(claims: Mapping[str, Any]) -> float:
    """When the provider last asked this person for proof, as epoch seconds; 0 when it does not say."""
    said = claims.get("auth_time")
    if isinstance(said, bool) or not isinstance(said, int | float):
        return 0.0
    return min(float(said), time.time())
