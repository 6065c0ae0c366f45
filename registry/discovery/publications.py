"""What of a server is published: whether at all, under which version, and what is said of it.

A version is immutable, and names one server.json. Of each server at most one version is offered, the one the
certificate of today covers; every other one is a tombstone (status `deleted`), so that no client keeps to what was
approved once.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import Q
from django.utils.translation import gettext as _

from registry.catalog.models import Endpoint, Server, Tool, Transport
from registry.catalog.queries import as_server_json
from registry.catalog.states import Lifecycle
from registry.core.canonical import digest

OFFICIAL = "io.modelcontextprotocol.registry/official"
UNNUMBERED = "0.0.0"
"""The version of a server without a release, or with one that the format does not take as a version."""
_NOT_A_VERSION = re.compile(r"latest|[\^~<>=|*]|\s|[\x00-\x1f\x7f]", re.IGNORECASE)
LONGEST = 240
"""Of a release; the rest of the 255 characters is for what tells its contents apart."""


def meta_key() -> str:
    """Our own key in `_meta`: the host of this installation, reversed (`org.example.steward/governance`)."""
    host = urlsplit(settings.BASE_URL).hostname or "localhost"
    labels = [host] if re.fullmatch(r"[\d.:]+", host) else reversed(host.split("."))
    return f"{'.'.join(labels)}/governance"


# --- Whether ---------------------------------------------------------------------------------------------


def publishable(now: datetime) -> Q:
    """Servers that anybody may be told to use: in service, certified, not quarantined, not confidential."""
    return Q(lifecycle=Lifecycle.ACTIVE, certified_until__gt=now, quarantined_at=None, confidential=False)


def obstacle(server: Server, now: datetime) -> str:
    """Why `server` is not published, in words; empty when it is `publishable`."""
    if server.confidential:
        return _("Confidential: clients read this list without signing in.")
    if server.quarantined_at is not None:
        return _("Quarantined.")
    if server.lifecycle != Lifecycle.ACTIVE:
        return {
            Lifecycle.DRAFT: _("A draft: nobody has approved it."),
            Lifecycle.SUBMITTED: _("Waits for its first review."),
            Lifecycle.SUSPENDED: _("Suspended."),
            Lifecycle.RETIRED: _("Retired."),
        }[Lifecycle(server.lifecycle)]
    if server.certified_until is None:
        return _("Not certified: no review has been signed off, or a fact changed since.")
    if server.certified_until <= now:
        return _("Its certification has ended.")
    return ""


def farewell(server: Server, now: datetime) -> str:
    """What clients are told of a version that is offered no more. Of what became confidential they learn nothing."""
    return _("Withdrawn.") if server.confidential else obstacle(server, now)


# --- Which version ---------------------------------------------------------------------------------------


def numbered(release: str) -> str:
    """`release` as a version of the format: no range, no moving tag, never empty."""
    release = release.strip()
    return UNNUMBERED if not release or _NOT_A_VERSION.search(release) else release[:LONGEST]


def free_version(release: str, taken: Collection[str]) -> str:
    """`release`, or with build metadata that tells this content from earlier ones of the same release: `1.4.0+2`.

    Build metadata does not order (semantic versioning, section 10): it is the same release, told differently.
    """
    if release not in taken:
        return release
    joint = "." if "+" in release else "+"
    number = 2
    while f"{release}{joint}{number}" in taken:
        number += 1
    return f"{release}{joint}{number}"


# --- What clients call it --------------------------------------------------------------------------------


def client_keys(name: str) -> list[str]:
    """Keys for a configuration file, in the order of preference: what follows the slash, all of it, then one that
    no other name has."""
    short, whole = (re.sub(r"[^A-Za-z0-9_-]", "-", each)[:200] for each in (name.rpartition("/")[2], name))
    told_apart = sha256(name.encode()).hexdigest()
    return [short or "server", whole, f"{whole}-{told_apart[:8]}", f"{whole}-{told_apart}"]


def assign_client_keys(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """A key for each of `names` that none of `taken` and no other name has. Clients differ in whether case counts."""
    used = {key.lower() for key in taken}
    keys: dict[str, str] = {}
    for name in names:
        keys[name] = next(key for key in client_keys(name) if key.lower() not in used)
        used.add(keys[name].lower())
    return keys


# --- What is said ----------------------------------------------------------------------------------------


def body_of(server: Server, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The server.json, under its release, with the endpoints that the format can say."""
    body = as_server_json(server, endpoints=filter(_can_be_said, endpoints), version=numbered(server.release))
    body["description"] = body["description"].strip() or server.label.strip() or server.name[:100]
    return body


def _can_be_said(endpoint: Endpoint) -> bool:
    """Not a package of an unknown registry, nor anything that listens at an unknown address."""
    if endpoint.package_identifier and not endpoint.package_registry:
        return False
    return bool(endpoint.url) or endpoint.transport == Transport.STDIO


def content_digest(body: dict[str, Any]) -> str:
    """Tells contents apart, whatever they are called: the same content again gets its old version back."""
    return digest(body)


def facts_of(server: Server, tools: Sequence[Tool], purpose_ends_on: date | None) -> dict[str, Any]:
    """Governance facts for `_meta`: about the thing, no names of people, nothing about secrets."""
    until = server.certified_until
    return {
        "ownerTeam": server.team.name if server.team else None,
        "environment": server.environment,
        "tier": server.tier,
        "purposeEndsOn": purpose_ends_on.isoformat() if purpose_ends_on else None,
        "certifiedUntil": until.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if until else None,
        "approvedTools": [
            {"name": tool.name, "digest": f"sha256:{tool.approved_digest}", "class": tool.effective_class}
            for tool in tools
            if tool.approved
        ],
    }
