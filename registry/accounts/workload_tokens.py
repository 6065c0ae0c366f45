"""Whether a workload's JWT is what its issuer signed for us: RFC 7519 with the mistakes of others ruled out (RFC 8725).

Nothing in the token chooses how it is verified. The algorithm must be one that its issuer is registered with and that
fits the key; the key is found by `kid` in the issuer's own set; addresses and keys in the header make it refused.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode

from registry.accounts.issuer_keys import KINDS, key_for
from registry.accounts.models import WorkloadIssuer
from registry.accounts.subjects import MAX_SUBJECT, SPIFFE, trust_domain_of
from registry.core.errors import NotSignedIn

MAX_LENGTH = 8192
MAX_LIFE = 3600
SKEW = 60
TYPES = (None, "JWT", "jwt", "at+jwt", "application/at+jwt")
"""DPoP proofs, logout and security event tokens carry other types, so that they are not taken for this."""
FOREIGN_HEADERS = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc"})
ID_TOKEN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash", "s_hash"})
"""A person's sign-in at the same issuer leaves an ID token with one of these; it is no key to the API."""

# RFC 9864 renames EdDSA; issuers still sign under the old name, and which curve is meant is decided by the key.
warnings.filterwarnings("ignore", message="EdDSA is deprecated")


@dataclass(frozen=True)
class Proven:
    """What a valid token says. `audience` is one of those that were asked for."""

    issuer: WorkloadIssuer
    subject: str
    audience: str
    claims: Mapping[str, Any]


def looks_like_jwt(secret: str) -> bool:
    return secret.count(".") == 2 and secret.startswith("ey")


def prove(token: str, now: datetime) -> Proven:
    """Raises `NotSignedIn` with the reason; whether anything here knows the workload is not asked here."""
    if len(token) > MAX_LENGTH or not token.isascii():
        raise NotSignedIn("This token is longer than any workload's.")
    header, unproven = _read(token)
    algorithm, kid = header.get("alg"), header.get("kid")
    if strange := sorted(FOREIGN_HEADERS & header.keys()):
        raise NotSignedIn(f"The token's header has {', '.join(strange)}, which is not followed here.")
    if header.get("typ") not in TYPES:
        raise NotSignedIn("This is another type of token.")
    if algorithm not in KINDS:
        raise NotSignedIn(f"Tokens are signed with {', '.join(KINDS)}.")
    if not isinstance(kid, str) or not kid:
        raise NotSignedIn("The token does not name its key (kid).")
    named = unproven.get("iss")
    issuer = (
        WorkloadIssuer.objects.filter(issuer=named, state=WorkloadIssuer.State.ACTIVE).first()
        if isinstance(named, str)
        else None
    )
    if issuer is None or algorithm not in issuer.algorithms:
        raise NotSignedIn("No registered issuer signs such tokens.")
    key = key_for(issuer, kid, algorithm, now)
    try:
        claims = jwt.decode(token, key, algorithms=[algorithm]).claims
    except (JoseError, ValueError):
        raise NotSignedIn("The token's signature is not its issuer's.") from None
    return _judged(issuer, claims, now.timestamp())


def _read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, unproven: only to know whom to ask."""
    try:
        head, body, _signature = token.split(".")
        header, claims = (orjson.loads(urlsafe_b64decode(part.encode())) for part in (head, body))
    except ValueError:
        raise NotSignedIn("This is not a signed JWT.") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise NotSignedIn("This is not a signed JWT.")
    return header, claims


def _judged(issuer: WorkloadIssuer, claims: Mapping[str, Any], now: float) -> Proven:
    ends, made = _instant(claims, "exp"), _instant(claims, "iat")
    starts = _instant(claims, "nbf") if "nbf" in claims else made
    if ends <= now - SKEW:
        raise NotSignedIn("The token has expired.")
    if starts > now + SKEW or made > now + SKEW:
        raise NotSignedIn("The token is not valid yet. Do the clocks agree?")
    if ends - made > MAX_LIFE:
        raise NotSignedIn("The token lives longer than an hour.")
    if ID_TOKEN_CLAIMS & claims.keys():
        raise NotSignedIn("This is a person's ID token, not a workload's.")
    audience = claims.get("aud")
    if isinstance(audience, list) and len(audience) == 1:
        audience = audience[0]
    if not isinstance(audience, str):
        # Whoever else is named could use it here.
        raise NotSignedIn("The token must be made for this registry alone (aud).")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
        raise NotSignedIn("The token does not say for whom it is (sub).")
    domain = trust_domain_of(subject)
    if (issuer.trust_domain or subject.lower().startswith(SPIFFE)) and (not domain or domain != issuer.trust_domain):
        raise NotSignedIn("The token's issuer does not vouch for this SPIFFE id.")
    return Proven(issuer, subject, audience, claims)


def _instant(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e11:
        raise NotSignedIn(f"The token has no usable {name}.")
    return float(value)
