"""Filters of reviews, one set for the list pages and the REST API."""

from typing import Any
from uuid import UUID

import django_filters as filters
from django import forms
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.catalog.models import Tier
from registry.core.filtering import ChoiceMenu
from registry.reviews.models import (
    Campaign,
    Certificate,
    Decision,
    Item,
    Remediation,
    SignOff,
    SubjectKind,
    Template,
    WorkItem,
)
from registry.reviews.states import CampaignState, ItemState, RemediationState


class TemplateFilter(filters.FilterSet):
    q = filters.CharFilter(field_name="name", lookup_expr="icontains", label=_("Search"))
    enabled = filters.BooleanFilter(label=_("Switched on"))

    class Meta:
        model = Template
        fields: list[str] = []


class CampaignFilter(filters.FilterSet):
    q = filters.CharFilter(field_name="name", lookup_expr="icontains", label=_("Search"))
    state = filters.MultipleChoiceFilter(choices=CampaignState.choices, label=_("State"), widget=ChoiceMenu)
    kind = filters.ChoiceFilter(choices=Campaign.Kind.choices, label=_("Kind"), empty_label=_("Any"))
    template = filters.ModelChoiceFilter(queryset=Template.objects.all(), label=_("Template"), empty_label=_("Any"))

    class Meta:
        model = Campaign
        fields: list[str] = []


def _reviewers(request: Any) -> QuerySet[User]:
    return User.objects.filter(work_items__isnull=False).distinct()


class CampaignItemFilter(filters.FilterSet):
    """The items of one campaign."""

    q = filters.CharFilter(field_name="label", lookup_expr="icontains", label=_("Search"))
    state = filters.MultipleChoiceFilter(choices=ItemState.choices, label=_("State"), widget=ChoiceMenu)
    tier = filters.MultipleChoiceFilter(choices=Tier.choices, label=_("Tier"), widget=ChoiceMenu)
    kind = filters.ChoiceFilter(choices=SubjectKind.choices, label=_("Kind"), empty_label=_("Any"))
    reviewer = filters.ModelChoiceFilter(
        queryset=_reviewers, method="by_reviewer", label=_("Reviewer"), empty_label=_("Any")
    )

    class Meta:
        model = Item
        fields: list[str] = []

    def by_reviewer(self, queryset: QuerySet[Any], name: str, value: User) -> QuerySet[Any]:
        return queryset.filter(Exists(WorkItem.objects.filter(item=OuterRef("pk"), reviewer=value)))


class ItemFilter(CampaignItemFilter):
    """Items of all campaigns. Ids of what one may not see find nothing, and do not say that it exists."""

    campaign = filters.UUIDFilter(field_name="campaign", label=_("Campaign"))
    server = filters.UUIDFilter(method="by_server", label=_("Server"))
    grant = filters.UUIDFilter(field_name="grant", label=_("Grant"))
    connection = filters.UUIDFilter(field_name="connection", label=_("Connection"))
    mine = filters.BooleanFilter(method="by_mine", label=_("Assigned to me"))

    def by_server(self, queryset: QuerySet[Any], name: str, value: UUID) -> QuerySet[Any]:
        return queryset.filter(Q(server=value) | Q(grant__server=value) | Q(connection__server=value))

    def by_mine(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:
        held = Exists(
            WorkItem.objects.filter(item=OuterRef("pk"), reviewer=self.request.actor.user_id).exclude(state="closed")
        )
        return queryset.filter(held if value else ~held)


class DecisionFilter(filters.FilterSet):
    campaign = filters.UUIDFilter(field_name="work_item__item__campaign", label=_("Campaign"))
    item = filters.UUIDFilter(field_name="work_item__item", label=_("Item"))
    reviewer = filters.UUIDFilter(field_name="work_item__reviewer", label=_("Reviewer"))
    value = filters.MultipleChoiceFilter(choices=Decision.Value.choices, label=_("Value"))
    signed = filters.BooleanFilter(field_name="signed_at", lookup_expr="isnull", exclude=True, label=_("Signed"))

    class Meta:
        model = Decision
        fields: list[str] = []


class SignOffFilter(filters.FilterSet):
    campaign = filters.UUIDFilter(field_name="campaign", label=_("Campaign"))
    reviewer = filters.UUIDFilter(field_name="reviewer", label=_("Reviewer"))

    class Meta:
        model = SignOff
        fields: list[str] = []


class RemediationFilter(filters.FilterSet):
    campaign = filters.UUIDFilter(field_name="item__campaign", label=_("Campaign"))
    state = filters.MultipleChoiceFilter(choices=RemediationState.choices, label=_("State"))
    kind = filters.ChoiceFilter(choices=Remediation.Kind.choices, label=_("Kind"))

    class Meta:
        model = Remediation
        fields: list[str] = []


class CertificateFilter(filters.FilterSet):
    kind = filters.ChoiceFilter(choices=SubjectKind.choices, label=_("Kind"), empty_label=_("Any"))
    valid = filters.ChoiceFilter(
        choices=[("true", _("In force")), ("false", _("Ended"))],
        method="by_validity",
        label=_("State"),
        empty_label=_("Any"),
    )
    ends_before = filters.DateFilter(
        field_name="certified_until",
        lookup_expr="date__lte",
        label=_("Ends before"),
        widget=forms.DateInput(attrs={"type": "date"}),
    )

    class Meta:
        model = Certificate
        fields: list[str] = []

    def by_validity(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return queryset.filter(ended_at__isnull=value == "true")


class CertificateApiFilter(CertificateFilter):
    server = filters.UUIDFilter(label=_("Server, and its grants and connections"), method="by_server")

    def by_server(self, queryset: QuerySet[Any], name: str, value: UUID) -> QuerySet[Any]:
        return queryset.filter(Q(server=value) | Q(grant__server=value) | Q(connection__server=value))
