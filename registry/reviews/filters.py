"""Filters of reviews, one set for the list pages and the REST API."""

from datetime import date
from typing import Any
from uuid import UUID

import django_filters as filters
from django import forms
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.catalog.filters import YesNo
from registry.catalog.models import Tier
from registry.core import clock
from registry.core.filtering import ChoiceMenu, StrictFilterSet
from registry.reviews.models import (
    AuditPack,
    AutomaticAction,
    Campaign,
    Certificate,
    Challenge,
    Decision,
    Delegation,
    ExceptionRecord,
    Item,
    QualityVerdict,
    Remediation,
    SignOff,
    SubjectKind,
    Template,
    Trigger,
    WorkItem,
)
from registry.reviews.models.subjects import about
from registry.reviews.queries import UNDECIDED, in_nobodys_hands, lying_still
from registry.reviews.states import (
    SETTLED,
    AutomaticActionState,
    CampaignState,
    ItemState,
    PackState,
    RemediationState,
)


class TemplateFilter(StrictFilterSet):
    q = filters.CharFilter(field_name="name", lookup_expr="icontains", label=_("Search"))
    enabled = YesNo(label=_("Switched on"))

    class Meta:
        model = Template
        fields: list[str] = []


class CampaignFilter(StrictFilterSet):
    q = filters.CharFilter(field_name="name", lookup_expr="icontains", label=_("Search"))
    state = filters.MultipleChoiceFilter(choices=CampaignState.choices, label=_("State"), widget=ChoiceMenu)
    kind = filters.ChoiceFilter(choices=Campaign.Kind.choices, label=_("Kind"), widget=forms.HiddenInput)
    template = filters.ModelChoiceFilter(queryset=Template.objects.all(), label=_("Template"), empty_label=_("Any"))

    class Meta:
        model = Campaign
        fields: list[str] = []


def _reviewers(request: Any) -> QuerySet[User]:
    """Everybody who was ever asked; each looked up in the index, however many work items there are."""
    return User.objects.filter(Exists(WorkItem.objects.filter(reviewer=OuterRef("pk")))).order_by("name")


class CampaignItemFilter(StrictFilterSet):
    """The items of one campaign."""

    q = filters.CharFilter(field_name="label", lookup_expr="icontains", label=_("Search"))
    state = filters.MultipleChoiceFilter(choices=ItemState.choices, label=_("State"), widget=ChoiceMenu)
    tier = filters.MultipleChoiceFilter(choices=Tier.choices, label=_("Tier"), widget=ChoiceMenu)
    kind = filters.ChoiceFilter(choices=SubjectKind.choices, label=_("Kind"), empty_label=_("Any"))
    reviewer = filters.ModelChoiceFilter(
        queryset=_reviewers, method="by_reviewer", label=_("Reviewer"), empty_label=_("Any")
    )
    stage = filters.NumberFilter(min_value=1, label=_("Stage"))
    attention = filters.ChoiceFilter(
        choices=[("nobody", _("In nobody's hands")), ("still", _("Lies still")), ("overdue", _("Overdue"))],
        method="by_attention",
        label=_("Needs somebody"),
        empty_label=_("Any"),
    )

    class Meta:
        model = Item
        fields: list[str] = []

    def by_reviewer(self, queryset: QuerySet[Any], name: str, value: User) -> QuerySet[Any]:
        return queryset.filter(Exists(WorkItem.objects.filter(item=OuterRef("pk"), reviewer=value)))

    def by_attention(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        match value:
            case "nobody":
                return in_nobodys_hands(queryset)
            case "still":
                return lying_still(queryset)
        return queryset.filter(state__in=UNDECIDED, due_at__lt=clock.now())


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


class DelegationFilter(StrictFilterSet):
    delegator = filters.UUIDFilter(field_name="delegator", label=_("Who is away"))
    delegate = filters.UUIDFilter(field_name="delegate", label=_("Who stands in"))
    on = filters.DateFilter(method="by_day", label=_("In force on"))

    class Meta:
        model = Delegation
        fields: list[str] = []

    def by_day(self, queryset: QuerySet[Any], name: str, value: date) -> QuerySet[Any]:
        return queryset.filter(ended_at=None, starts_on__lte=value, ends_on__gte=value)


class DecisionFilter(StrictFilterSet):
    campaign = filters.UUIDFilter(field_name="work_item__item__campaign", label=_("Campaign"))
    item = filters.UUIDFilter(field_name="work_item__item", label=_("Item"))
    reviewer = filters.UUIDFilter(field_name="work_item__reviewer", label=_("Reviewer"))
    value = filters.MultipleChoiceFilter(choices=Decision.Value.choices, label=_("Value"))
    signed = filters.BooleanFilter(field_name="signed_at", lookup_expr="isnull", exclude=True, label=_("Signed"))

    class Meta:
        model = Decision
        fields: list[str] = []


class SignOffFilter(StrictFilterSet):
    campaign = filters.UUIDFilter(field_name="campaign", label=_("Campaign"))
    reviewer = filters.UUIDFilter(field_name="reviewer", label=_("Reviewer"))

    class Meta:
        model = SignOff
        fields: list[str] = []


class PackFilter(StrictFilterSet):
    campaign = filters.UUIDFilter(field_name="campaign", label=_("Campaign"))
    state = filters.MultipleChoiceFilter(choices=PackState.choices, widget=ChoiceMenu, label=_("State"))

    class Meta:
        model = AuditPack
        fields: list[str] = []


class QualityFilter(StrictFilterSet):
    campaign = filters.UUIDFilter(field_name="campaign", label=_("Campaign"))
    reviewer = filters.UUIDFilter(field_name="reviewer", label=_("Reviewer"))
    verdict = filters.MultipleChoiceFilter(choices=QualityVerdict.Verdict.choices, label=_("Verdict"))

    class Meta:
        model = QualityVerdict
        fields: list[str] = []


class RemediationFilter(StrictFilterSet):
    """Remediations by where they stand; `subject` is the id of the server, grant, connection or agent."""

    q = filters.CharFilter(field_name="item__label", lookup_expr="icontains", label=_("Search"))
    state = filters.MultipleChoiceFilter(choices=RemediationState.choices, label=_("State"), widget=ChoiceMenu)
    open = YesNo(method="by_open", label=_("Still open"))
    kind = filters.ChoiceFilter(choices=Remediation.Kind.choices, label=_("Kind"), empty_label=_("Any"))
    campaign = filters.ModelChoiceFilter(
        field_name="item__campaign",
        queryset=lambda request: _campaigns_that_took_away(request),
        label=_("Campaign"),
        empty_label=_("Any"),
    )

    class Meta:
        model = Remediation
        fields: list[str] = []

    def by_open(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:
        return queryset.exclude(state__in=SETTLED) if value else queryset.filter(state__in=SETTLED)


def _campaigns_that_took_away(request: Any) -> QuerySet[Campaign]:
    if request is None:
        return Campaign.objects.none()
    taken = Remediation.objects.filter(item__campaign=OuterRef("pk"))
    return Campaign.objects.visible_to(request.actor).filter(Exists(taken))


class RemediationApiFilter(RemediationFilter):
    campaign = filters.UUIDFilter(field_name="item__campaign", label=_("Campaign"))
    channel = filters.CharFilter(label=_("Channel"))
    subject = filters.UUIDFilter(method="by_subject", label=_("Id of the server, grant, connection or agent"))

    def by_subject(self, queryset: QuerySet[Any], name: str, value: UUID) -> QuerySet[Any]:
        return queryset.filter(about(value, "item__"))


class ChallengeFilter(StrictFilterSet):
    remediation = filters.UUIDFilter(field_name="remediation", label=_("Remediation"))
    open = filters.BooleanFilter(field_name="upheld", lookup_expr="isnull", label=_("Waits for a decision"))

    class Meta:
        model = Challenge
        fields: list[str] = []


class ExceptionFilter(StrictFilterSet):
    q = filters.CharFilter(field_name="remediation__item__label", lookup_expr="icontains", label=_("Search"))
    state = filters.ChoiceFilter(
        choices=[("requested", _("Asked for")), ("active", _("In force")), ("ended", _("Over"))],
        method="by_state",
        label=_("State"),
        empty_label=_("Any"),
    )
    ends_before = filters.DateFilter(
        field_name="expires_at",
        lookup_expr="date__lte",
        label=_("Ends before"),
        widget=forms.DateInput(attrs={"type": "date"}),
    )

    class Meta:
        model = ExceptionRecord
        fields: list[str] = []

    def by_state(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        match value:
            case "requested":
                return queryset.filter(ended_at=None, approved_at=None)
            case "active":
                return queryset.filter(ended_at=None, approved_at__isnull=False)
        return queryset.filter(ended_at__isnull=False)


class ExceptionApiFilter(ExceptionFilter):
    remediation = filters.UUIDFilter(field_name="remediation", label=_("Remediation"))


class ActionFilter(StrictFilterSet):
    """What the ladder does to a campaign by itself."""

    q = filters.CharFilter(field_name="item__label", lookup_expr="icontains", label=_("Search"))
    state = filters.MultipleChoiceFilter(choices=AutomaticActionState.choices, label=_("State"), widget=ChoiceMenu)
    kind = filters.MultipleChoiceFilter(choices=AutomaticAction.Kind.choices, label=_("What"), widget=ChoiceMenu)
    tier = filters.MultipleChoiceFilter(
        field_name="item__tier", choices=Tier.choices, label=_("Tier"), widget=ChoiceMenu
    )

    class Meta:
        model = AutomaticAction
        fields: list[str] = []


class ActionApiFilter(ActionFilter):
    campaign = filters.UUIDFilter(field_name="item__campaign", label=_("Campaign"))
    item = filters.UUIDFilter(field_name="item", label=_("Item"))


class TriggerFilter(StrictFilterSet):
    """What called for a review, and what became of it."""

    cause = filters.MultipleChoiceFilter(choices=Trigger.Cause.choices, label=_("Why"), widget=ChoiceMenu)
    kind = filters.ChoiceFilter(choices=SubjectKind.choices, label=_("Kind"), empty_label=_("Any"))
    open = YesNo(field_name="handled_at", lookup_expr="isnull", label=_("Still waits"))

    class Meta:
        model = Trigger
        fields: list[str] = []


class TriggerApiFilter(TriggerFilter):
    campaign = filters.UUIDFilter(field_name="campaign", label=_("Campaign"))
    server = filters.UUIDFilter(field_name="server", label=_("Server"))
    grant = filters.UUIDFilter(field_name="grant", label=_("Grant"))
    connection = filters.UUIDFilter(field_name="connection", label=_("Connection"))
    agent = filters.UUIDFilter(field_name="agent", label=_("Agent"))


class CertificateFilter(StrictFilterSet):
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
        valid = Q(ended_at=None, certified_until__gt=clock.now())
        return queryset.filter(valid if value == "true" else ~valid)


class CertificateApiFilter(CertificateFilter):
    subject = filters.UUIDFilter(label=_("Id of the server, grant, connection or agent"), method="by_subject")
    server = filters.UUIDFilter(label=_("Server, and its grants and connections"), method="by_server")

    def by_subject(self, queryset: QuerySet[Any], name: str, value: UUID) -> QuerySet[Any]:
        return queryset.filter(about(value))

    def by_server(self, queryset: QuerySet[Any], name: str, value: UUID) -> QuerySet[Any]:
        return queryset.filter(Q(server=value) | Q(grant__server=value) | Q(connection__server=value))
