"""Filters of the audit trail, the same for the page, its CSV and the API."""

import django_filters
from django import forms
from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _

from registry.audit.models import Event


class EventFilter(django_filters.FilterSet):
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
    subject_id = django_filters.UUIDFilter(label=_("Subject's id"), widget=forms.HiddenInput)
    actor_id = django_filters.UUIDFilter(label=_("Actor's id"), widget=forms.HiddenInput)
    request_id = django_filters.CharFilter(label=_("Request"), widget=forms.HiddenInput)

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
