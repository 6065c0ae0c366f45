"""Filters of imports and of their results, the same for the pages, the CSV and the API."""

import django_filters
from django import forms
from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _

from registry.core.filtering import ChoiceMenu
from registry.discovery.models import ImportJob, ImportResult
from registry.discovery.states import JobState, Outcome


class ImportFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(
        label=_("Search"),
        method="matching",
        widget=forms.TextInput(attrs={"type": "search", "placeholder": _("Source or person")}),
    )
    state = django_filters.MultipleChoiceFilter(label=_("State"), choices=JobState.choices, widget=ChoiceMenu)

    class Meta:
        model = ImportJob
        fields: list[str] = []

    def matching(self, queryset: QuerySet[ImportJob], _name: str, words: str) -> QuerySet[ImportJob]:
        return queryset.filter(Q(source__icontains=words) | Q(requested_by__name__icontains=words))


class ResultFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(
        label=_("Search"),
        field_name="name",
        lookup_expr="icontains",
        widget=forms.TextInput(attrs={"type": "search", "placeholder": _("Name of the server")}),
    )
    outcome = django_filters.MultipleChoiceFilter(label=_("Outcome"), choices=Outcome.choices, widget=ChoiceMenu)

    class Meta:
        model = ImportResult
        fields: list[str] = []
