"""Public keys of workload issuers: asked for by discovery or at a given address, and kept in the issuer's row.

Failing closed: keys that could not be confirmed for an hour are no keys. A workload's token lives an hour at most, so
whoever still has one then has it of an issuer that nobody could reach in the meantime.
"""

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, cast

import orjson
import structlog
from django.db.models import Q
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from registry.accounts.models import WorkloadIssuer
from registry.core import clock, outbound
from registry.core.errors import NotSignedIn

log = structlog.get_logger(__name__)
REFRESH_AFTER = timedelta(minutes=10)
GOOD_FOR = timedelta(hours=1)
ASK_AGAIN = timedelta(minutes=1)
LIMITS = outbound.Limits(connect=3, read=5, total=8, size=200_000, redirects=2)
MOST_KEYS = 50
LEAST_RSA_BITS = 2048
PUBLIC = ("kty", "kid", "alg", "use", "key_ops", "crv", "x", "y", "n", "e")
KINDS = {"RS256": ("RSA", ""), "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519")}
PublicKey = RSAKey | ECKey | OKPKey


def fetch_keys(issuer: WorkloadIssuer) -> list[dict[str, Any]]:
    """The keys as the issuer tells them now, only their public members. Raises `OutboundError`."""
    uri = issuer.jwks_uri or _discovered(issuer.issuer)
    answer = outbound.fetch("GET", uri, limits=LIMITS, headers={"Accept": "application/json"})
    document = answer.json() if answer.status == 200 else None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise outbound.Unreadable(f"{uri} answers {answer.status}, not a key set.")
    kinds = {kind for kind, _curve in KINDS.values()}
    kept = [
        {name: each[name] for name in PUBLIC if name in each}
        for each in listed[:MOST_KEYS]
        if isinstance(each, dict) and each.get("kty") in kinds and isinstance(each.get("kid"), str) and each["kid"]
    ]
    if not kept:
        raise outbound.Unreadable(f"{uri} lists no key that has a kid and could be used.")
    return kept


def _discovered(issuer: str) -> str:
    """`jwks_uri` of the issuer's own description, which must name the very issuer that was asked."""
    answer = outbound.fetch("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration", limits=LIMITS)
    document = answer.json() if answer.status == 200 else None
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        raise outbound.Unreadable(f"{issuer} does not describe itself as this issuer.")
    uri = document.get("jwks_uri")
    if not isinstance(uri, str):
        raise outbound.Unreadable(f"{issuer} does not say where its keys are.")
    return uri


def refresh(issuer: WorkloadIssuer, now: datetime, *, at_once: bool = False) -> bool:
    """Ask for the keys, unless anybody did within the last minute; True when `issuer` has fresh ones now.

    The row says who asks: of all processes that miss a key at the same moment, one goes.
    """
    row = WorkloadIssuer.objects.filter(pk=issuer.pk)
    turn = row if at_once else row.filter(Q(keys_tried_at=None) | Q(keys_tried_at__lte=now - ASK_AGAIN))
    if not turn.update(keys_tried_at=now):
        return False
    issuer.keys_tried_at = now
    try:
        keys = fetch_keys(issuer)
    except outbound.OutboundError as error:
        issuer.keys_error = error.message[:300]
        row.update(keys_error=issuer.keys_error)
        log.warning("workload_keys_not_fetched", issuer=issuer.issuer, error=type(error).__name__)
        return False
    issuer.keys, issuer.keys_at, issuer.keys_error = keys, now, ""
    row.update(keys=keys, keys_at=now, keys_error="")
    return True


def key_for(issuer: WorkloadIssuer, kid: str, algorithm: str, now: datetime) -> PublicKey:
    """The key with this id, fit for this algorithm. Raises `NotSignedIn` when there is none to be had."""
    known = [each for each in issuer.keys if each.get("kid") == kid]
    if not known or issuer.keys_at is None or now - issuer.keys_at > REFRESH_AFTER:
        refresh(issuer, now)
        known = [each for each in issuer.keys if each.get("kid") == kid]
    if issuer.keys_at is None or now - issuer.keys_at > GOOD_FOR:
        raise NotSignedIn(f"The keys of {issuer.issuer} cannot be had at present, so its tokens are not accepted.")
    if len(known) != 1:
        raise NotSignedIn(f"{issuer.issuer} has no single key with this kid.")
    key = _usable(orjson.dumps(known[0]), algorithm)
    if key is None:
        raise NotSignedIn(f"The key with this kid is not one for {algorithm}.")
    return key


@lru_cache(maxsize=256)
def _usable(jwk: bytes, algorithm: str) -> PublicKey | None:
    facts = orjson.loads(jwk)
    kind, curve = KINDS[algorithm]
    operations = facts.get("key_ops")
    if (
        facts.get("kty") != kind
        or (curve and facts.get("crv") != curve)
        or facts.get("use", "sig") != "sig"
        or (operations is not None and "verify" not in operations)
        or facts.get("alg", algorithm) not in (algorithm, "Ed25519" if algorithm == "EdDSA" else algorithm)
    ):
        return None
    facts.pop("key_ops", None)
    try:
        key = import_key(facts)
    except (JoseError, ValueError, TypeError):
        return None
    if isinstance(key, RSAKey) and key.public_key.key_size < LEAST_RSA_BITS:
        return None
    return cast(PublicKey, key)


def keys_state(issuer: WorkloadIssuer) -> str:
    """`ok`, `ageing` (refused by the hour) or `none`, for pages."""
    if issuer.keys_at is None or clock.now() - issuer.keys_at > GOOD_FOR:
        return "none"
    return "ok" if not issuer.keys_error else "ageing"
