"""Filters of trust relationships, the same ones for the list pages and the REST API.

A filter of one end (an agent, a system) leaves only the kind of relationship that has this end.
"""

from datetime import datetime
from typing import Any, TypedDict

import django_filters as filters
from django import forms
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import Team
from registry.catalog.filters import Choices, YesNo, as_uuid
from registry.catalog.models import Agent, Environment, Server, System, Tier, Tool
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Invalid
from registry.core.filtering import ChoiceMenu, StrictFilterSet
from registry.trust.models import Connection, Grant, Observation, seen_by
from registry.trust.states import Status

KINDS = [("grant", _("Grants")), ("connection", _("Connections"))]


def named(field: str, value: str, *names: str) -> Q:
    """The end `field` by id, or by one of its names."""
    if (key := as_uuid(value)) is not None:
        return Q(**{f"{field}_id": key})
    wanted = Q()
    for name in names:
        wanted |= Q(**{f"{field}__{name}": value})
    return wanted


FEW = 1000


def looked_up(ids: QuerySet[Any]) -> QuerySet[Any] | list[Any]:
    """Ids to filter by, fetched first when they are few: only then does the database go by the index on them."""
    few = list(ids[: FEW + 1])
    return few if len(few) <= FEW else ids


def containing(model: Any, value: str, *names: str) -> QuerySet[Any] | list[Any]:
    """Ids of the things whose name holds `value`; the small tables are searched, not the relationships."""
    wanted = Q()
    for name in names:
        wanted |= Q(**{f"{name}__icontains": value})
    return looked_up(model.objects.filter(wanted).order_by().values_list("pk", flat=True))


class RelationshipFilter(StrictFilterSet):
    """What both kinds share. `agent`, `server` and `system` take an id or a name, `agent` also a SPIFFE id."""

    q = filters.CharFilter(method="search", label=_("Search"))
    status = Choices(Status, label=_("Status"))
    certified = YesNo(method="by_certified", label=_("Certified"))
    tier = Choices(Tier, field_name="server__tier", label=_("Tier"))
    environment = Choices(Environment, field_name="server__environment", label=_("Environment"))
    team = filters.ModelMultipleChoiceFilter(
        method="by_team", queryset=Team.objects.all(), label=_("Team"), widget=ChoiceMenu
    )
    server = filters.CharFilter(method="by_server", label=_("Server"))

    other_end: tuple[str, Any, tuple[str, ...]]

    def search(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Part of the name of either end, or of a tool or scope in full."""
        field, model, names = self.other_end
        listed = "tools" if model is Agent else "scopes"
        return queryset.filter(
            Q(server__in=containing(Server, value, "name", "title"))
            | Q(**{f"{field}__in": containing(model, value, *names)})
            | Q(**{f"{listed}__contains": [value]})
        )

    def by_team(self, queryset: QuerySet[Any], name: str, value: list[Team]) -> QuerySet[Any]:
        servers = Team.objects.filter(pk__in=[each.pk for each in value], servers__isnull=False).order_by()
        return queryset.filter(server__in=looked_up(servers.values_list("servers", flat=True))) if value else queryset

    def by_server(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return queryset.filter(named("server", value, "name"))

    def by_certified(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:
        certified = queryset.model.certified_rows(clock.now())
        return queryset.filter(certified if value else ~certified)


class GrantFilter(RelationshipFilter):
    agent = filters.CharFilter(method="by_agent", label=_("Agent"))
    tool = filters.CharFilter(method="by_tool", label=_("Tool"))

    other_end = ("agent", Agent, ("name", "spiffe_id", "client_id"))

    class Meta:
        model = Grant
        fields: list[str] = []

    def by_agent(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return queryset.filter(named("agent", value, "name", "spiffe_id"))

    def by_tool(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Granted by name, or by a wildcard on a server that lists it."""
        lists_it = Tool.objects.filter(name=value, retired_at=None).order_by().values("server_id")
        return queryset.filter(Q(tools__contains=[value]) | Q(all_tools=True, server__in=lists_it))


class ConnectionFilter(RelationshipFilter):
    system = filters.CharFilter(method="by_system", label=_("System"))
    access = Choices(Connection.Access, label=_("Access"))

    other_end = ("system", System, ("name",))

    class Meta:
        model = Connection
        fields: list[str] = []

    def by_system(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return queryset.filter(named("system", value, "name"))


class OfOneKind(StrictFilterSet):
    """In the list of both kinds: asking for what only the other kind has leaves nothing of this one."""

    def by_kind(self, queryset: QuerySet[Any], name: str, value: list[str]) -> QuerySet[Any]:
        return queryset if not value or queryset.model.kind in value else queryset.none()

    def of_other_kind(self, queryset: QuerySet[Any], name: str, value: Any) -> QuerySet[Any]:
        return queryset.none() if value else queryset


class AnyGrantFilter(OfOneKind, GrantFilter):
    kind = filters.MultipleChoiceFilter(
        choices=KINDS, method="by_kind", label=_("Kind"), widget=forms.MultipleHiddenInput
    )
    system = filters.CharFilter(method="of_other_kind", label=_("System"))
    access = Choices(Connection.Access, method="of_other_kind", label=_("Access"))

    class Meta(GrantFilter.Meta):
        pass


class AnyConnectionFilter(OfOneKind, ConnectionFilter):
    kind = filters.MultipleChoiceFilter(
        choices=KINDS, method="by_kind", label=_("Kind"), widget=forms.MultipleHiddenInput
    )
    agent = filters.CharFilter(method="of_other_kind", label=_("Agent"))
    tool = filters.CharFilter(method="of_other_kind", label=_("Tool"))

    class Meta(ConnectionFilter.Meta):
        pass


class Sides(TypedDict):
    grants: QuerySet[Any] | None
    connections: QuerySet[Any] | None


def filtered(actor: Actor, query: Any) -> Sides:
    """Grants and connections that `actor` may see and `query` asks for, as `queries.relationship_page` takes them.

    A side that cannot have any is None. Raises `Invalid` for a filter value that means nothing.
    """
    return {
        "grants": _side(AnyGrantFilter, Grant.objects.visible_to(actor), query),
        "connections": _side(AnyConnectionFilter, Connection.objects.visible_to(actor), query),
    }


SIGHTED = {"kind", "agent", "server", "system"}
"""Filters that a sighting can meet; it has no terms that the others could ask for."""


def seen_in_use(sides: Sides, until: datetime) -> Sides:
    """Of both only what was seen in use up to an instant."""
    known = Observation.objects.filter(first_used__lte=until)
    grants, connections = sides["grants"], sides["connections"]
    calls = Exists(known.filter(agent=OuterRef("agent"), server=OuterRef("server")))
    uses = Exists(known.filter(server=OuterRef("server"), system=OuterRef("system")))
    return {
        "grants": None if grants is None else grants.filter(calls),
        "connections": None if connections is None else connections.filter(uses),
    }


def observations_of(actor: Actor, query: Any) -> Q:
    """The ends that `query` asks for, as a condition on observations. Nothing matches what `actor` may not see."""
    wanted = Q()
    for field, model, *names in (
        ("agent", Agent, "name", "spiffe_id"),
        ("server", Server, "name"),
        ("system", System, "name"),
    ):
        if query.get(field):
            seen = seen_by(actor, model).order_by().values("pk")
            wanted &= named(field, query[field], *names) & Q(**{f"{field}__in": seen})
    return wanted


def _side(filter_class: type[filters.FilterSet], visible: QuerySet[Any], query: Any) -> QuerySet[Any] | None:
    if not any(query.get(name) for name in filter_class.base_filters):
        return visible  # making the forms would take longer than the page
    filterset = filter_class(query, queryset=visible)
    if not filterset.is_valid():
        raise Invalid(fields={field: list(messages) for field, messages in filterset.errors.items()})
    found = filterset.qs
    return None if found.query.is_empty() else found
