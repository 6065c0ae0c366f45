"""Filters of the catalog, one set for the list pages and the REST API, so that a query means the same in both."""

from typing import Any
from uuid import UUID

import django_filters as filters
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext_lazy as _
from django_filters.fields import ModelMultipleChoiceField

from registry.accounts.models import Team
from registry.catalog.models import (
    Agent,
    DataClass,
    Endpoint,
    Environment,
    Issuer,
    Proposal,
    Purpose,
    SecretSource,
    Server,
    System,
    Tier,
    Tool,
    ToolClass,
    Vacancy,
    VisibilityRule,
)
from registry.catalog.states import Lifecycle, ProposalState, Standing, VacancyState
from registry.core import clock
from registry.core.filtering import ChoiceMenu, StrictFilterSet


def as_uuid(text: object) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None


class Choices(filters.MultipleChoiceFilter):
    """Any of several values: `?tier=critical&tier=high`."""

    def __init__(self, choices: Any, **kwargs: Any) -> None:
        super().__init__(choices=getattr(choices, "choices", choices), widget=ChoiceMenu, **kwargs)


class YesNo(filters.TypedChoiceFilter):
    """`true` or `false`; anything else is refused, for a misspelt filter must not answer everything."""

    def __init__(self, **kwargs: Any) -> None:
        choices = [("", _("Any")), ("true", _("Yes")), ("false", _("No"))]
        super().__init__(choices=choices, coerce=lambda value: value == "true", **kwargs)


class OwnerFilter(filters.CharFilter):
    """`me`, a user's id, an e-mail address, or part of a name.

    Text rather than a list of everybody: an organisation may have thousands of people.
    """

    def filter(self, qs: QuerySet[Any], value: str) -> QuerySet[Any]:
        value = (value or "").strip()
        if not value:
            return qs
        if value.casefold() == "me":
            return qs.filter(owner_id=self.parent.request.actor.user_id)
        if (owner_id := as_uuid(value)) is not None:
            return qs.filter(owner_id=owner_id)
        return qs.filter(Q(owner__email__iexact=value) | Q(owner__name__icontains=value))


class TeamsField(ModelMultipleChoiceField):
    """Teams by slug, as the pages' addresses have them, or by id, as the API's rows name them."""

    def clean(self, value: Any) -> Any:
        ids = [found for found in map(as_uuid, value or ()) if found is not None]
        if ids:
            slugs = dict(Team.objects.filter(pk__in=ids).values_list("pk", "slug"))
            value = [slugs.get(as_uuid(each), each) for each in value]  # type: ignore[arg-type]
        return super().clean(value)


class TeamFilter(filters.ModelMultipleChoiceFilter):
    field_class = TeamsField

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            queryset=Team.objects.all(), to_field_name="slug", label=_("Team"), widget=ChoiceMenu, **kwargs
        )

    def get_filter_predicate(self, v: Team) -> dict[str, Any]:
        return {self.field_name: v}


class WordsFilter(StrictFilterSet):
    """Search where every word occurs in one of `searched`."""

    searched: tuple[str, ...] = ("name", "description")
    q = filters.CharFilter(method="search", label=_("Search"))

    def search(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        for word in value.split():
            anywhere = Q()
            for field in self.searched:
                anywhere |= Q(**{f"{field}__icontains": word})
            queryset = queryset.filter(anywhere)
        return queryset


class GovernedFilter(WordsFilter):
    team = TeamFilter()
    owner = OwnerFilter(label=_("Owner"), help_text=_("me, a name, an e-mail address or an id"))
    environment = Choices(Environment, label=_("Environment"))

    def by_orphaned(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:
        orphaned = queryset.orphaned()  # type: ignore[attr-defined]
        return orphaned if value else queryset.exclude(pk__in=orphaned.order_by().values("pk"))


class VacancyFilter(StrictFilterSet):
    state = Choices(VacancyState, label=_("State"))
    former_owner = filters.UUIDFilter(field_name="former_owner_id", label=_("Whose it was"))
    server = filters.UUIDFilter(field_name="server_id")
    system = filters.UUIDFilter(field_name="system_id")
    agent = filters.UUIDFilter(field_name="agent_id")

    class Meta:
        model = Vacancy
        fields: list[str] = []


class ProposalFilter(StrictFilterSet):
    state = Choices(ProposalState, label=_("State"))
    vacancy = filters.UUIDFilter(field_name="vacancy_id")
    successor = filters.UUIDFilter(field_name="successor_id", label=_("Who is asked"))

    class Meta:
        model = Proposal
        fields: list[str] = []


class VisibilityRuleFilter(StrictFilterSet):
    team = TeamFilter()
    environment = Choices(Environment, label=_("Environment"))
    in_force = YesNo(field_name="dropped_at", lookup_expr="isnull", label=_("In force"))

    class Meta:
        model = VisibilityRule
        fields: list[str] = []


class ServerFilter(GovernedFilter):
    lifecycle = Choices(Lifecycle, label=_("Lifecycle"))
    tier = Choices(Tier, label=_("Tier"))
    tool_class = Choices(ToolClass, method="by_tool_class", label=_("Tool class"))
    secret_kind = Choices(SecretSource.Kind, method="by_secret_kind", label=_("Secret source"))
    data_class = Choices(DataClass, method="by_data_class", label=_("Data class"))
    certified = YesNo(method="by_certified", label=_("Certified"))
    owner_missing = YesNo(method="by_owner_missing", label=_("Owner or deputy missing"))
    lapses_within = filters.NumberFilter(method="by_lapse", min_value=1, max_value=3650, label=_("Lapses within days"))
    orphaned = YesNo(method="by_orphaned", label=_("Owner has left"))

    class Meta:
        model = Server
        fields: list[str] = []

    def search(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return queryset.matching(value)  # type: ignore[attr-defined]

    def by_tool_class(self, queryset: QuerySet[Any], name: str, value: list[str]) -> QuerySet[Any]:
        """By `Tool.effective_class`: what nobody classified counts as destructive."""
        effective = Q(confirmed_class__in=value) | Q(confirmed_class="", claimed_class__in=value)
        if ToolClass.DESTRUCTIVE in value:
            effective |= Q(confirmed_class="", claimed_class="")
        tools = Tool.objects.filter(effective, server=OuterRef("pk"), retired_at=None)
        return queryset.filter(Exists(tools)) if value else queryset

    def by_secret_kind(self, queryset: QuerySet[Any], name: str, value: list[str]) -> QuerySet[Any]:
        sources = SecretSource.objects.filter(server=OuterRef("pk"), retired_at=None, kind__in=value)
        return queryset.filter(Exists(sources)) if value else queryset

    def by_data_class(self, queryset: QuerySet[Any], name: str, value: list[str]) -> QuerySet[Any]:
        """By the purpose that counts, the newest."""
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
    kind = Choices(System.Kind, label=_("Kind"))
    data_class = Choices(DataClass, label=_("Data class"))
    standing = Choices(Standing, label=_("Standing"))
    orphaned = YesNo(method="by_orphaned", label=_("Owner has left"))

    class Meta:
        model = System
        fields: list[str] = []


class AgentFilter(GovernedFilter):
    searched = ("name", "description", "spiffe_id", "client_id")
    kind = Choices(Agent.Kind, label=_("Kind"))
    issuer = filters.ModelMultipleChoiceFilter(queryset=Issuer.objects.all(), label=_("Issuer"), widget=ChoiceMenu)
    standing = Choices(Standing, label=_("Standing"))
    orphaned = YesNo(method="by_orphaned", label=_("Owner has left"))

    class Meta:
        model = Agent
        fields: list[str] = []


class IssuerFilter(WordsFilter):
    searched = ("name", "uri")
    team = TeamFilter()
    kind = Choices(Issuer.Kind, label=_("Kind"))
    standing = Choices(Standing, label=_("Standing"))

    class Meta:
        model = Issuer
        fields: list[str] = []


class PartFilter(StrictFilterSet):
    """Of the parts of servers. By id alone: whether a hidden server exists is nobody's business."""

    server = filters.UUIDFilter(field_name="server_id")


class EndpointFilter(PartFilter):
    class Meta:
        model = Endpoint
        fields = ["transport", "canonical_uri"]


class ToolFilter(PartFilter):
    class Meta:
        model = Tool
        fields = ["name", "confirmed_class", "claimed_class"]


class PurposeFilter(PartFilter):
    class Meta:
        model = Purpose
        fields: list[str] = []


class SecretSourceFilter(PartFilter):
    class Meta:
        model = SecretSource
        fields = ["kind", "reference", "credential_type"]
