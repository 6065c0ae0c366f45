"""Filters of the catalog, one set for the list pages and the REST API."""

from typing import Any

import django_filters as filters
from django.contrib.postgres.search import SearchQuery, SearchVector
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import Team, User
from registry.catalog.models import (
    Agent,
    DataClass,
    Environment,
    Issuer,
    Purpose,
    SecretSource,
    Server,
    System,
    Tier,
    Tool,
    ToolClass,
)
from registry.catalog.states import Lifecycle, Standing
from registry.core import clock


class GovernedFilter(filters.FilterSet):
    q = filters.CharFilter(method="search", label=_("Search"))
    team = filters.ModelMultipleChoiceFilter(queryset=Team.objects.all(), label=_("Team"))
    owner = filters.ModelMultipleChoiceFilter(queryset=User.objects.all(), label=_("Owner"))
    environment = filters.MultipleChoiceFilter(choices=Environment.choices, label=_("Environment"))

    def search(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return queryset.filter(Q(name__icontains=value) | Q(description__icontains=value))


class ServerFilter(GovernedFilter):
    lifecycle = filters.MultipleChoiceFilter(choices=Lifecycle.choices, label=_("Lifecycle"))
    tier = filters.MultipleChoiceFilter(choices=Tier.choices, label=_("Tier"))
    tool_class = filters.MultipleChoiceFilter(choices=ToolClass.choices, method="by_tool_class", label=_("Tool class"))
    secret_kind = filters.MultipleChoiceFilter(
        choices=SecretSource.Kind.choices, method="by_secret_kind", label=_("Secret source")
    )
    data_class = filters.MultipleChoiceFilter(choices=DataClass.choices, method="by_data_class", label=_("Data class"))
    certified = filters.BooleanFilter(method="by_certified", label=_("Certified"))
    owner_missing = filters.BooleanFilter(method="by_owner_missing", label=_("Owner or deputy missing"))
    lapses_within = filters.NumberFilter(method="by_lapse", label=_("Certification ends within days"))

    class Meta:
        model = Server
        fields: list[str] = []

    def search(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Whole words through the full-text index, parts of names beside it."""
        vector = SearchVector("name", "title", "description", config="simple")
        return queryset.annotate(document=vector).filter(
            Q(document=SearchQuery(value, config="simple", search_type="websearch")) | Q(name__icontains=value)
            | Q(title__icontains=value)
        )  # fmt: skip

    def by_tool_class(self, queryset: QuerySet[Any], name: str, value: list[str]) -> QuerySet[Any]:
        effective = Q(confirmed_class__in=value) | Q(confirmed_class="", claimed_class__in=value)
        tools = Tool.objects.filter(effective, server=OuterRef("pk"), retired_at=None)
        return queryset.filter(Exists(tools)) if value else queryset

    def by_secret_kind(self, queryset: QuerySet[Any], name: str, value: list[str]) -> QuerySet[Any]:
        sources = SecretSource.objects.filter(server=OuterRef("pk"), retired_at=None, kind__in=value)
        return queryset.filter(Exists(sources)) if value else queryset

    def by_data_class(self, queryset: QuerySet[Any], name: str, value: list[str]) -> QuerySet[Any]:
        newer = Purpose.objects.filter(server=OuterRef("server"), number__gt=OuterRef("number"))
        current = Purpose.objects.filter(~Exists(newer), server=OuterRef("pk"), data_classes__overlap=value)
        return queryset.filter(Exists(current)) if value else queryset

    def by_certified(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:
        valid = Q(certified_until__gt=clock.now())
        return queryset.filter(valid if value else ~valid | Q(certified_until=None))

    def by_owner_missing(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:
        missing = Q(owner=None) | Q(deputy=None) | Q(owner__is_active=False) | Q(deputy__is_active=False)
        return queryset.filter(missing if value else ~missing)

    def by_lapse(self, queryset: QuerySet[Any], name: str, value: Any) -> QuerySet[Any]:
        now = clock.now()
        return queryset.filter(certified_until__gt=now, certified_until__lte=now + clock.days(int(value)))


class SystemFilter(GovernedFilter):
    kind = filters.MultipleChoiceFilter(choices=System.Kind.choices, label=_("Kind"))
    data_class = filters.MultipleChoiceFilter(choices=DataClass.choices, label=_("Data class"))
    standing = filters.MultipleChoiceFilter(choices=Standing.choices, label=_("Standing"))

    class Meta:
        model = System
        fields: list[str] = []


class AgentFilter(GovernedFilter):
    kind = filters.MultipleChoiceFilter(choices=Agent.Kind.choices, label=_("Kind"))
    issuer = filters.ModelMultipleChoiceFilter(queryset=Issuer.objects.all(), label=_("Issuer"))
    standing = filters.MultipleChoiceFilter(choices=Standing.choices, label=_("Standing"))

    class Meta:
        model = Agent
        fields: list[str] = []

    def search(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return queryset.filter(Q(name__icontains=value) | Q(spiffe_id__icontains=value) | Q(client_id__icontains=value))


class IssuerFilter(filters.FilterSet):
    q = filters.CharFilter(method="search", label=_("Search"))
    kind = filters.MultipleChoiceFilter(choices=Issuer.Kind.choices, label=_("Kind"))
    standing = filters.MultipleChoiceFilter(choices=Standing.choices, label=_("Standing"))

    class Meta:
        model = Issuer
        fields: list[str] = []

    def search(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return queryset.filter(Q(name__icontains=value) | Q(uri__icontains=value))
