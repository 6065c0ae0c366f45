"""Reads about shadow servers: who uses them, where, and what to register them as."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Count, Q

from registry.core.actors import Actor
from registry.discovery.formats.clients import CLIENTS
from registry.discovery.models import Shadow, Sighting
from registry.discovery.models.sightings import SightingQuerySet
from registry.discovery.sighting_words import looks_like

SECRETS_SHOWN = 50


class Usage(NamedTuple):
    """Of one shadow: by which clients it is used, at how many places, and how many of its sightings hold secrets."""

    clients: list[str]
    places: int
    with_secrets: int


def usage_of(shadows: Iterable[Shadow], actor: Actor) -> dict[UUID, Usage]:
    """In one query for a page of shadows. That secrets stand somewhere counts where `actor` may see the place."""
    mine = Sighting.objects.visible_to(actor).with_secrets().filter(shadow__in=[shadow.pk for shadow in shadows])
    grouped = (
        Sighting.objects.filter(shadow__in=[shadow.pk for shadow in shadows])
        .order_by()
        .values("shadow", "client")
        .annotate(places=Count("place", distinct=True), holding=Count("pk", filter=Q(pk__in=mine.values("pk"))))
    )
    rows: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for row in grouped:
        rows[row["shadow"]].append(dict(row))
    return {
        shadow: Usage(
            sorted(client_name(row["client"]) for row in mine),
            sum(row["places"] for row in mine),
            sum(row["holding"] for row in mine),
        )
        for shadow, mine in rows.items()
    }


def client_name(client: str) -> str:
    return str(CLIENTS.get(client, client))


def names_of(shadow: Shadow) -> list[str]:
    """What clients call it, the most usual name first; not where."""
    counted = (
        Sighting.objects.filter(shadow=shadow)
        .order_by()
        .values("entry")
        .annotate(n=Count("pk"))
        .order_by("-n", "entry")
    )
    return [row["entry"] for row in counted[:10]]


def secrets_in(sightings: SightingQuerySet) -> list[dict[str, Any]]:
    """The newest places of inline secrets: `{"place", "client", "at", "words", "path", …}`."""
    found = sightings.with_secrets().order_by("-id")[:SECRETS_SHOWN]
    return [
        {
            "place": each.place,
            "client": client_name(each.client),
            "at": each.at,
            "words": looks_like(secret["looks"]),
            **secret,
        }
        for each in found
        for secret in each.secrets
    ]


def references_in(sightings: SightingQuerySet) -> list[dict[str, Any]]:
    """Where its credentials come from, as far as configurations say so: hints for its secret sources."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for facts in sightings.order_by("-id").values_list("facts", flat=True)[:200]:
        for each in facts.get("references", ()):
            if each["secret"]:
                counted[each["kind"], each["reference"], each["name"]] += 1
    return [
        {"kind": kind, "reference": reference, "name": name, "times": times}
        for (kind, reference, name), times in counted.most_common(20)
    ]


def wizard_facts(shadow: Shadow) -> dict[str, str]:
    """What the registration starts from: a name for people, and the endpoint when it has an identity."""
    # Its name and address stand on the shadow, for everybody who sees that.
    told = Sighting.objects.filter(shadow=shadow)
    newest = told.order_by("-id").first()
    facts: dict[str, str] = {"title": (names_of(shadow) or [shadow.label])[0][:100]}
    if newest is None or not newest.identified:
        return facts
    facts["transport"] = newest.facts["transport"]
    if package := newest.facts.get("package"):
        facts |= {"package_registry": package["registry"], "package_identifier": package["identifier"]}
        if package["version"] not in ("", "latest"):
            facts["package_version"] = package["version"]
    else:
        facts["url"] = (newest.facts.get("also") or [newest.facts["url"]])[0]
    return facts
