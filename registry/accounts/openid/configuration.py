"""Providers as the operator names them. Read by the settings, so nothing here may import a model."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

ONLY = "sso"
"""The name of the provider where `OIDC_PROVIDERS` names none: it is in the addresses of the sign-in."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,29}")
RESERVED = {"", "scim"}


@dataclass(frozen=True)
class Provider:
    """One OpenID provider. `link_verified_email`: see `services.federation.sign_in_person`."""

    name: str
    issuer: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    label: str = ""
    scopes: str = "openid email profile"
    groups_claim: str = "groups"
    link_verified_email: bool = False
    token_auth: str = ""
    """`basic` or `post`; empty: as the provider's metadata says."""

    @property
    def title(self) -> str:
        return self.label or self.name.replace("_", " ").capitalize()


def read_providers(
    names: Iterable[str], shared: Mapping[str, Any], own: Callable[[str, str], str]
) -> dict[str, Provider]:
    """Providers by name, in the order they are offered.

    `shared` holds the variables without a name (`OIDC_ISSUER` …): the only provider, or what several have in common.
    `own("corp", "ISSUER")` reads `OIDC_CORP_ISSUER`, or returns "". Raises `ImproperlyConfigured`.
    """
    wanted = [name.strip().lower() for name in names if name.strip()]
    if not wanted:
        return {ONLY: _read(ONLY, "OIDC_", shared)} if shared["ISSUER"] else {}
    found = {}
    for name in wanted:
        if not _NAME.fullmatch(name) or name in RESERVED or name in found:
            raise ImproperlyConfigured(
                f"OIDC_PROVIDERS: {name!r} is no name for a provider. Example: OIDC_PROVIDERS=corp,partner"
            )
        given = {key: own(name, key) or value for key, value in shared.items()}
        if given["CLIENT_SECRET"] and own(name, "CLIENT_SECRET_FILE"):
            given["CLIENT_SECRET"] = ""
        found[name] = _read(name, f"OIDC_{name.upper()}_", given)
    return found


def _read(name: str, prefix: str, given: Mapping[str, Any]) -> Provider:
    issuer = str(given["ISSUER"])
    parts = urlsplit(issuer)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ImproperlyConfigured(f"{prefix}ISSUER is {issuer!r}. Example: {prefix}ISSUER=https://login.example.org")
    if not given["CLIENT_ID"]:
        raise ImproperlyConfigured(f"{prefix}CLIENT_ID is not set. Example: {prefix}CLIENT_ID=steward")
    if given["TOKEN_AUTH"] not in ("", "basic", "post"):
        raise ImproperlyConfigured(f"{prefix}TOKEN_AUTH must be 'basic' or 'post'.")
    scopes = str(given["SCOPES"]).split()
    if "openid" not in scopes:
        raise ImproperlyConfigured(f"{prefix}SCOPES must contain openid. Example: {prefix}SCOPES='openid email'")
    return Provider(
        name=name,
        issuer=issuer,
        client_id=str(given["CLIENT_ID"]),
        client_secret=_secret(prefix, given),
        label=str(given["LABEL"]),
        scopes=" ".join(scopes),
        groups_claim=str(given["GROUPS_CLAIM"]),
        link_verified_email=str(given["LINK_VERIFIED_EMAIL"]).lower() in ("1", "true", "yes", "on"),
        token_auth=str(given["TOKEN_AUTH"]),
    )


def _secret(prefix: str, given: Mapping[str, Any]) -> str:
    if given["CLIENT_SECRET"] or not given["CLIENT_SECRET_FILE"]:
        return str(given["CLIENT_SECRET"])
    try:
        return Path(given["CLIENT_SECRET_FILE"]).read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{prefix}CLIENT_SECRET_FILE cannot be read: {error}.") from error
