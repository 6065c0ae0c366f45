"""What providers publish: the discovery document (OpenID Connect Discovery 1.0) and the keys it points to.

Kept per process. The document is asked for again after an hour and stays good for a day while the provider cannot be
reached. Keys are asked for again after minutes, because a provider that withdraws one has a reason, and those that
could not be confirmed for an hour are keys no more. A key nobody has seen is looked for at once, but not more often
than every half minute: whoever sends tokens with invented key ids must not make us ask for each.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.translation import gettext as _
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, KeySet, RSAKey

from registry.accounts.openid.configuration import Provider
from registry.accounts.openid.errors import ProviderFailed, TokenRefused
from registry.core.errors import NotFound
from registry.core.outbound import Limits, OutboundError, fetch

FRESH, STALE = 3600.0, 86_400.0
KEYS_FRESH, KEYS_STALE = 600.0, 3600.0
ASK_AGAIN = 30.0
LIMITS = Limits(connect=3, read=5, total=8, size=500_000, redirects=2)
LEAST_RSA_BITS = 2048
ALGORITHMS: dict[str, type[RSAKey] | type[ECKey]] = {"RS256": RSAKey, "ES256": ECKey}
"""What a provider may sign with. Neither `none` nor anything with a shared secret, whatever its metadata offers."""


@dataclass(frozen=True)
class Metadata:
    """The part of the discovery document that is used here."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str
    end_session_endpoint: str
    token_auth: tuple[str, ...]
    sends_issuer: bool


@dataclass
class _Known:
    metadata: Metadata | None = None
    metadata_at: float = 0.0
    keys: KeySet | None = None
    keys_at: float = 0.0
    asked_at: float = 0.0
    lock: Lock = field(default_factory=Lock)


_known: dict[tuple[str, str], _Known] = {}


def forget() -> None:
    """Ask everything anew: after a change of the configuration, and between tests."""
    _known.clear()


def provider_named(name: str) -> Provider:
    """Raises `NotFound` for one that is not configured (any more)."""
    provider: Provider | None = settings.OIDC_PROVIDERS.get(name)
    if provider is None:
        raise NotFound
    return provider


def ask(method: str, url: str, **options: Any) -> tuple[int, Any, str]:
    """Status, JSON body (None when there is none) and media type. Raises `ProviderFailed`."""
    try:
        answer = fetch(method, url, limits=LIMITS, **options)
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        return answer.status, answer.json() if answer.content and kind.endswith("json") else None, kind
    except OutboundError as error:
        raise ProviderFailed(error.message) from error


def metadata_of(provider: Provider) -> Metadata:
    """Raises `ProviderFailed` when it was never read and cannot be read now."""
    known = _known.setdefault((provider.name, provider.issuer), _Known())
    age = time.monotonic() - known.metadata_at
    if known.metadata is not None and age < FRESH:
        return known.metadata
    with known.lock:
        if known.metadata is not None and time.monotonic() - known.metadata_at < FRESH:
            return known.metadata
        try:
            known.metadata, known.metadata_at = _discover(provider), time.monotonic()
        except ProviderFailed:
            if known.metadata is None or age > STALE:
                raise
            # Good for another while, so that an outage does not cost every request a connection attempt.
            known.metadata_at = time.monotonic() - FRESH + ASK_AGAIN
    return known.metadata


def _discover(provider: Provider) -> Metadata:
    status, document, _kind = ask("GET", f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration")
    if status != 200 or not isinstance(document, Mapping):
        raise ProviderFailed(_("%(provider)s has no discovery document.") % {"provider": provider.title})
    if document.get("issuer") != provider.issuer:
        raise ProviderFailed(
            _("The discovery document of %(provider)s speaks for another issuer.") % {"provider": provider.title}
        )
    return Metadata(
        authorization_endpoint=_endpoint(provider, document, "authorization_endpoint"),
        token_endpoint=_endpoint(provider, document, "token_endpoint"),
        jwks_uri=_endpoint(provider, document, "jwks_uri"),
        userinfo_endpoint=_endpoint(provider, document, "userinfo_endpoint", needed=False),
        end_session_endpoint=_endpoint(provider, document, "end_session_endpoint", needed=False),
        token_auth=tuple(document.get("token_endpoint_auth_methods_supported") or ("client_secret_basic",)),
        sends_issuer=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _endpoint(provider: Provider, document: Mapping[str, Any], name: str, *, needed: bool = True) -> str:
    """Browsers are sent to some of these, so a scheme such as `javascript:` or a step down to http is refused."""
    url = document.get(name)
    if not url and not needed:
        return ""
    parts = urlsplit(url) if isinstance(url, str) else None
    allowed = {"https", urlsplit(provider.issuer).scheme}
    if parts is None or parts.scheme not in allowed or not parts.hostname:
        raise ProviderFailed(
            _("The discovery document of %(provider)s has no usable %(name)s.")
            % {"provider": provider.title, "name": name}
        )
    return str(url)


def key_for(provider: Provider, header: Mapping[str, Any]) -> Key:
    """The key that may have signed a token with this header. Raises `TokenRefused`, `ProviderFailed`."""
    wanted = ALGORITHMS.get(str(header.get("alg")))
    if wanted is None:
        raise TokenRefused(_("The token is not signed with RS256 or ES256."))
    known = _known.setdefault((provider.name, provider.issuer), _Known())
    with known.lock:
        now = time.monotonic()
        found = _choose(known.keys, header, wanted) if now - known.keys_at < KEYS_FRESH else None
        if found is None and (known.keys is None or now - known.asked_at > ASK_AGAIN):
            known.asked_at = now
            try:
                known.keys, known.keys_at = _read_keys(provider), now
            except ProviderFailed:
                if known.keys is None or now - known.keys_at > KEYS_STALE:
                    raise
        if found is None and now - known.keys_at <= KEYS_STALE:
            found = _choose(known.keys, header, wanted)
    if found is None:
        raise TokenRefused(_("The token is signed with a key that the provider does not publish."))
    return found


def _read_keys(provider: Provider) -> KeySet:
    # Not under the lock of metadata: `metadata_of` takes the same one.
    status, document, _kind = ask("GET", _jwks_uri(provider))
    if status != 200 or not isinstance(document, Mapping) or not isinstance(document.get("keys"), list):
        raise ProviderFailed(_("%(provider)s publishes no keys.") % {"provider": provider.title})
    keys = []
    for each in document["keys"]:
        try:
            keys += KeySet.import_key_set({"keys": [each]}).keys
        except (JoseError, ValueError, TypeError, KeyError):
            continue  # one key we cannot read must not cost those we can
    return KeySet(keys)


def _jwks_uri(provider: Provider) -> str:
    known = _known[provider.name, provider.issuer]
    if known.metadata is None:
        known.metadata, known.metadata_at = _discover(provider), time.monotonic()
    return known.metadata.jwks_uri


def _choose(keys: KeySet | None, header: Mapping[str, Any], kind: type[RSAKey] | type[ECKey]) -> Key | None:
    """By key id, kind and use. Without a key id only where no choice is left (OpenID Connect Core, 10.1)."""
    fitting = []
    for key in keys or ():
        said = key.as_dict(private=False)
        if not isinstance(key, kind) or said.get("use", "sig") != "sig":
            continue
        if said.get("alg") not in (None, header["alg"]) or (kind is ECKey and said.get("crv") != "P-256"):
            continue
        if isinstance(key, RSAKey) and key.public_key.key_size < LEAST_RSA_BITS:
            continue
        fitting.append(key)
    kid = header.get("kid")
    if kid is None:
        return fitting[0] if len(fitting) == 1 else None
    return next((key for key in fitting if key.kid == kid), None)
