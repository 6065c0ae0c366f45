"""Filters of the audit trail, the same for the page, its CSV and the API."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any, Self

import django_filters
from django import forms
from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.timezone import is_naive
from django.utils.translation import gettext as now_in_words
from django.utils.translation import gettext_lazy as _

from registry.audit.models import Event
from registry.core.errors import Invalid
from registry.core.filtering import StrictFilterSet


class StoryFilter(StrictFilterSet):
    """Of one thing's story: what, by whom, when."""

    q = django_filters.CharFilter(
        label=_("Search"),
        method="matching",
        widget=forms.TextInput(attrs={"type": "search", "placeholder": _("Act, subject or person")}),
    )
    since = django_filters.IsoDateTimeFilter(
        label=_("From"),
        field_name="at",
        lookup_expr="gte",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )
    until = django_filters.IsoDateTimeFilter(
        label=_("Until"),
        field_name="at",
        lookup_expr="lt",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )
    actor = django_filters.CharFilter(label=_("Actor"), field_name="actor_label", lookup_expr="icontains")
    act = django_filters.CharFilter(
        label=_("Act"),
        lookup_expr="istartswith",
        widget=forms.TextInput(attrs={"placeholder": "grant.approved"}),
    )
    subject_type = django_filters.CharFilter(
        label=_("Kind of subject"),
        lookup_expr="iexact",
        widget=forms.TextInput(attrs={"placeholder": "server"}),
    )

    class Meta:
        model = Event
        fields: list[str] = []

    def matching(self, queryset: QuerySet[Event], _name: str, words: str) -> QuerySet[Event]:
        """Each word must occur in the act, the subject or the actor."""
        for word in words.split():
            queryset = queryset.filter(
                Q(act__icontains=word) | Q(subject_label__icontains=word) | Q(actor_label__icontains=word)
            )
        return queryset


class EventFilter(StoryFilter):
    actor_kind = django_filters.ChoiceFilter(label=_("Kind of actor"), choices=Event.ActorKind.choices)
    subject_id = django_filters.UUIDFilter(label=_("Subject's id"), widget=forms.HiddenInput)
    actor_id = django_filters.UUIDFilter(label=_("Actor's id"), widget=forms.HiddenInput)
    request_id = django_filters.CharFilter(label=_("Request"), widget=forms.HiddenInput)


@dataclass(frozen=True)
class Period:
    since: datetime | None
    until: datetime | None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """`since` and `until` as dates or instants; a date as the end includes its day. Raises `Invalid`."""
        period = cls(_instant(given, "since", time.min), _instant(given, "until", time.max))
        if period.since and period.until and period.since >= period.until:
            raise Invalid(fields={"until": [now_in_words("The end lies before the beginning.")]})
        return period


def _instant(given: Mapping[str, Any], name: str, of_day: time) -> datetime | None:
    text = str(given.get(name) or "")
    if not text:
        return None
    try:
        if (day := parse_date(text)) is not None:
            return datetime.combine(day, of_day, UTC)
        found = parse_datetime(text)
        if found is not None and not is_naive(found):
            found = found.astimezone(UTC)  # Beyond the calendar in UTC is no instant.
    except (ValueError, OverflowError):
        found = None
    if found is None:
        raise Invalid(fields={name: [now_in_words("Give a date or an instant, for example 2026-11-22.")]})
    return found.replace(tzinfo=UTC) if is_naive(found) else found
