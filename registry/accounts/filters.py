"""Filters of people, teams and tokens, the same for pages and API."""

from typing import Any

import django_filters
from django import forms
from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import (
    ApiToken,
    ApiTokenQuerySet,
    Elevation,
    GroupRole,
    Role,
    RoleProposal,
    ServicePrincipal,
    Team,
    User,
    WorkloadIssuer,
)
from registry.core import clock
from registry.core.filtering import StrictFilterSet


def _text(*columns: str) -> Any:
    def matching(queryset: QuerySet[Any], _name: str, words: str) -> QuerySet[Any]:
        """Each word must occur in one of the columns."""
        for word in words.split():
            found = Q()
            for column in columns:
                found |= Q(**{f"{column}__icontains": word})
            queryset = queryset.filter(found)
        return queryset

    return matching


class UserFilter(StrictFilterSet):
    q = django_filters.CharFilter(
        label=_("Search"),
        method=_text("name", "email"),
        widget=forms.TextInput(attrs={"type": "search", "placeholder": _("Name or e-mail")}),
    )
    role = django_filters.ChoiceFilter(
        label=_("Role"), choices=Role.choices, field_name="roles", method="with_role", empty_label=_("Any")
    )
    team = django_filters.ModelChoiceFilter(
        label=_("Team"),
        field_name="teams",
        queryset=Team.objects.order_by("name"),
        to_field_name="slug",
        empty_label=_("Any"),
    )
    active = django_filters.ChoiceFilter(
        label=_("Standing"),
        field_name="is_active",
        choices=[("true", _("Active")), ("false", _("Left"))],
        method="standing",
        empty_label=_("Any"),
    )

    class Meta:
        model = User
        fields: list[str] = []

    def with_role(self, queryset: QuerySet[User], _name: str, role: str) -> QuerySet[User]:
        return queryset.filter(roles__contains=[role])

    def standing(self, queryset: QuerySet[User], _name: str, value: str) -> QuerySet[User]:
        return queryset.filter(is_active=value == "true")


class TeamFilter(StrictFilterSet):
    q = django_filters.CharFilter(
        label=_("Search"),
        method=_text("name", "slug"),
        widget=forms.TextInput(attrs={"type": "search", "placeholder": _("Team")}),
    )
    member = django_filters.ModelChoiceFilter(
        label=_("Member"), field_name="members", queryset=User.objects.all(), widget=forms.HiddenInput
    )

    class Meta:
        model = Team
        fields: list[str] = []


class GroupRoleFilter(StrictFilterSet):
    class Meta:
        model = GroupRole
        fields = ("provider", "group", "role", "state")


class TokenFilter(StrictFilterSet):
    usable = django_filters.ChoiceFilter(
        label=_("Usable now"),
        choices=[("true", _("Yes")), ("false", _("No"))],
        method="usable_now",
        empty_label=_("Any"),
    )

    class Meta:
        model = ApiToken
        fields: list[str] = []

    def usable_now(self, queryset: ApiTokenQuerySet, _name: str, value: str) -> QuerySet[ApiToken]:
        usable = queryset.usable()
        return usable if value == "true" else queryset.exclude(pk__in=usable.values("pk"))


class TokenApiFilter(TokenFilter):
    """`of` says whose: the view asks it, because without it a list is one's own."""

    of = django_filters.ChoiceFilter(
        label=_("Whose: one's own unless said otherwise"),
        choices=[("me", _("Your own")), ("all", _("Everybody's"))],
        method="as_is",
    )
    user = django_filters.ModelChoiceFilter(label=_("Person"), queryset=User.objects.all())

    def as_is(self, queryset: ApiTokenQuerySet, _name: str, _value: str) -> QuerySet[ApiToken]:
        return queryset


class PrincipalFilter(StrictFilterSet):
    q = django_filters.CharFilter(
        label=_("Search"),
        method=_text("name", "purpose", "subject"),
        widget=forms.TextInput(attrs={"type": "search", "placeholder": _("Name, purpose or subject")}),
    )
    state = django_filters.ChoiceFilter(label=_("State"), choices=ServicePrincipal.State.choices, empty_label=_("Any"))
    issuer = django_filters.ModelChoiceFilter(
        label=_("Issuer"), queryset=WorkloadIssuer.objects.order_by("name"), empty_label=_("Any")
    )
    owner = django_filters.ModelChoiceFilter(label=_("Owner"), queryset=User.objects.all(), widget=forms.HiddenInput)

    class Meta:
        model = ServicePrincipal
        fields: list[str] = []


class IssuerFilter(StrictFilterSet):
    state = django_filters.ChoiceFilter(label=_("State"), choices=WorkloadIssuer.State.choices, empty_label=_("Any"))

    class Meta:
        model = WorkloadIssuer
        fields: list[str] = []


class ElevationFilter(StrictFilterSet):
    q = django_filters.CharFilter(
        label=_("Search"),
        method=_text("user__name", "user__email", "reason"),
        widget=forms.TextInput(attrs={"type": "search", "placeholder": _("Person or reason")}),
    )
    standing = django_filters.ChoiceFilter(
        label=_("Standing"),
        choices=[("open", _("Runs")), ("unreviewed", _("Waits for review")), ("reviewed", _("Reviewed"))],
        method="stands",
        empty_label=_("Any"),
    )

    class Meta:
        model = Elevation
        fields: list[str] = []

    def stands(self, queryset: QuerySet[Elevation], _name: str, value: str) -> QuerySet[Elevation]:
        now = clock.now()
        if value == "open":
            return queryset.filter(ended_at=None, ends_at__gt=now)
        if value == "reviewed":
            return queryset.exclude(reviewed_at=None)
        return queryset.filter(Q(ends_at__lte=now) | Q(ended_at__isnull=False), reviewed_at=None)


class RoleProposalFilter(StrictFilterSet):
    state = django_filters.ChoiceFilter(label=_("State"), choices=RoleProposal.State.choices, empty_label=_("Any"))
    user = django_filters.ModelChoiceFilter(label=_("Person"), queryset=User.objects.all(), widget=forms.HiddenInput)

    class Meta:
        model = RoleProposal
        fields: list[str] = []
