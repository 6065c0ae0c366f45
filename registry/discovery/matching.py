"""Which catalogued server a configuration points at.

By any current endpoint of a server that has not retired. A package matches in whatever release it is catalogued: the
question is who answers for it, and that is not decided anew with every release.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Q, QuerySet

from registry.catalog.models import Endpoint, Server
from registry.catalog.states import Lifecycle
from registry.discovery.address_secrets import KEY, STAND_IN
from registry.discovery.identity import package_uri, without_credentials
from registry.discovery.models import Shadow

Seen = Mapping[str, Any]
"""A `Configured.sighting()`, or what is left of one in a row: `canonical_uri`, `identified` and `facts`."""
_AT_ONCE = 200


def servers_behind(sightings: Iterable[Seen]) -> dict[str, Server]:
    """The server behind each `canonical_uri`. Of several, one in use comes before a draft, then the older.

    Not narrowed to what somebody may see: who shows an answer to a person asks `visible_to` first.
    """
    wanted = {seen["canonical_uri"]: addresses(seen) for seen in sightings if seen["identified"]}
    found: dict[str, Server] = {}
    every = list(wanted)
    for start in range(0, len(every), _AT_ONCE):
        uris = every[start : start + _AT_ONCE]
        endpoints = _endpoints_at([address for uri in uris for address in wanted[uri]])
        for uri in uris:
            fitting = [each for each in endpoints if any(_fits(each.canonical_uri, address) for address in wanted[uri])]
            if fitting:
                found[uri] = min(fitting, key=lambda each: (each.server.lifecycle == Lifecycle.DRAFT, each.pk)).server
    return found


def addresses(seen: Seen) -> list[str]:
    """Under which addresses the same server may be catalogued."""
    uri = seen["canonical_uri"]
    also = [uri, *seen["facts"].get("also", ())]
    registry, _colon, name = uri.partition(":")
    if registry == "pypi":
        also += [f"pypi:{name.replace('-', '_')}"]
    elif registry == "oci":
        also += [f"oci:docker.io/{name}"]
    return also


def shadows_of(server: Server) -> QuerySet[Shadow]:
    """The shadows that `server` stands behind by one of its endpoints, in whatever state they are."""
    here = Q(pk__in=[])
    for endpoint in server.endpoints.filter(retired_at=None):
        if endpoint.url:
            keyed = f"{endpoint.canonical_uri}/{KEY}"
            kept = without_credentials(endpoint.canonical_uri) or ""
            here |= Q(canonical_uri__in=(endpoint.canonical_uri, keyed, kept))
        else:
            here |= Q(canonical_uri=package_uri(endpoint.package_registry, endpoint.package_identifier))
    return Shadow.objects.filter(here)


def _endpoints_at(uris: Sequence[str]) -> list[Endpoint]:
    released = Q(pk__in=[])
    for uri in uris:
        if uri.startswith("http") and (stood := STAND_IN.search(uri)):
            # Catalogued with what is not kept of a sighting: found by what is left, and compared below.
            start, end = uri[: stood.start()], STAND_IN.split(uri)[-1]
            released |= Q(canonical_uri__startswith=start, canonical_uri__endswith=end)
        elif not uri.startswith("http"):
            released |= Q(canonical_uri__startswith=f"{uri}@")
            if uri.startswith("oci:"):
                released |= Q(canonical_uri__startswith=f"{uri}:")
    current = Endpoint.objects.filter(retired_at=None).exclude(server__lifecycle=Lifecycle.RETIRED)
    return list(current.filter(Q(canonical_uri__in=uris) | released).select_related("server"))


def _fits(catalogued: str, uri: str) -> bool:
    if catalogued == uri:
        return True
    if uri.startswith("http"):
        return bool(STAND_IN.search(uri)) and without_credentials(catalogued) == uri
    return catalogued.startswith((f"{uri}@", f"{uri}:") if uri.startswith("oci:") else f"{uri}@")
