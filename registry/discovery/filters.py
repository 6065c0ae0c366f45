"""Filters of the lists of this room, the same for the pages, the CSV and the API."""

from typing import Any

import django_filters
from django import forms
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext_lazy as _

from registry.catalog.models import SecretSource
from registry.core.actors import Actor
from registry.core.filtering import ChoiceMenu, StrictFilterSet
from registry.discovery.formats.clients import CLIENTS
from registry.discovery.models import (
    Drift,
    DriftState,
    ImportJob,
    ImportResult,
    Probe,
    Publication,
    RegistryEntry,
    SecretAttestation,
    SecretCheck,
    Shadow,
    Sighting,
    Snapshot,
)
from registry.discovery.secret_states import explained_to
from registry.discovery.states import JobState, Outcome, ProbeState, SecretState, ShadowState


def _actor(request: Any) -> Actor:
    return getattr(request, "actor", None) or Actor.anonymous()


def by_server_name() -> django_filters.CharFilter:
    """The search of lists that name servers without having them: of imports, registries, what is published."""
    return django_filters.CharFilter(
        label=_("Search"),
        field_name="name",
        lookup_expr="icontains",
        widget=forms.TextInput(attrs={"type": "search", "placeholder": _("Name of the server")}),
    )


class ImportFilter(StrictFilterSet):
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


class ResultFilter(StrictFilterSet):
    q = by_server_name()
    outcome = django_filters.MultipleChoiceFilter(label=_("Outcome"), choices=Outcome.choices, widget=ChoiceMenu)

    class Meta:
        model = ImportResult
        fields: list[str] = []


class PublicationFilter(StrictFilterSet):
    q = by_server_name()
    status = django_filters.MultipleChoiceFilter(
        label=_("Status"), choices=Publication.Status.choices, widget=ChoiceMenu
    )

    class Meta:
        model = Publication
        fields: list[str] = []


class EntryFilter(StrictFilterSet):
    """Entries of a followed registry."""

    q = by_server_name()
    status = django_filters.MultipleChoiceFilter(
        label=_("Status"), choices=Publication.Status.choices, widget=ChoiceMenu
    )
    problem = django_filters.BooleanFilter(
        label=_("Cannot become a draft"), method="troubled", widget=forms.CheckboxInput
    )

    class Meta:
        model = RegistryEntry
        fields: list[str] = []

    def troubled(self, queryset: QuerySet[RegistryEntry], _name: str, wanted: bool) -> QuerySet[RegistryEntry]:
        return queryset.exclude(problem="") if wanted else queryset


class SnapshotFilter(StrictFilterSet):
    outcome = django_filters.MultipleChoiceFilter(
        label=_("Outcome"), choices=Snapshot.Outcome.choices, widget=ChoiceMenu
    )
    channel = django_filters.MultipleChoiceFilter(
        label=_("Taken by"), choices=Snapshot.Channel.choices, widget=ChoiceMenu
    )
    server = django_filters.UUIDFilter(label=_("Server"), field_name="server_id", widget=forms.HiddenInput)

    class Meta:
        model = Snapshot
        fields: list[str] = []


class DriftFilter(StrictFilterSet):
    q = django_filters.CharFilter(
        label=_("Search"),
        method="matching",
        widget=forms.TextInput(attrs={"type": "search", "placeholder": _("Name of the server")}),
    )
    state = django_filters.MultipleChoiceFilter(label=_("State"), choices=DriftState.choices, widget=ChoiceMenu)
    severity = django_filters.MultipleChoiceFilter(
        label=_("Severity"), choices=Drift.Severity.choices, widget=ChoiceMenu
    )
    server = django_filters.UUIDFilter(label=_("Server"), field_name="server_id", widget=forms.HiddenInput)

    class Meta:
        model = Drift
        fields: list[str] = []

    def matching(self, queryset: QuerySet[Drift], _name: str, words: str) -> QuerySet[Drift]:
        return queryset.filter(Q(server__name__icontains=words) | Q(server__title__icontains=words))


class ShadowFilter(StrictFilterSet):
    q = django_filters.CharFilter(
        label=_("Search"),
        method="matching",
        widget=forms.TextInput(attrs={"type": "search", "placeholder": _("Address, name or place")}),
    )
    state = django_filters.MultipleChoiceFilter(label=_("State"), choices=ShadowState.choices, widget=ChoiceMenu)
    client = django_filters.MultipleChoiceFilter(
        label=_("Client"), choices=list(CLIENTS.items()), method="used_by", widget=ChoiceMenu
    )
    inline_secret = django_filters.ChoiceFilter(
        label=_("Inline secret"),
        choices=[("true", _("with an inline secret")), ("false", _("without one"))],
        empty_label=_("Inline secret: all"),
        method="with_secret",
    )

    class Meta:
        model = Shadow
        fields: list[str] = []

    def matching(self, queryset: QuerySet[Shadow], _name: str, words: str) -> QuerySet[Shadow]:
        mine = Sighting.objects.visible_to(_actor(self.request)).filter(shadow=OuterRef("pk"))
        told = Sighting.objects.filter(entry__icontains=words, shadow=OuterRef("pk"))
        found = Q(Exists(told)) | Q(Exists(mine.filter(place__icontains=words)))
        return queryset.filter(found | Q(label__icontains=words) | Q(canonical_uri__icontains=words))

    def used_by(self, queryset: QuerySet[Shadow], _name: str, clients: list[str]) -> QuerySet[Shadow]:
        if not clients:
            return queryset
        return queryset.filter(Exists(Sighting.objects.filter(shadow=OuterRef("pk"), client__in=clients)))

    def with_secret(self, queryset: QuerySet[Shadow], _name: str, wanted: str) -> QuerySet[Shadow]:
        seen = Sighting.objects.visible_to(_actor(self.request))
        holding = Exists(seen.with_secrets().filter(shadow=OuterRef("pk")))
        return queryset.filter(holding if wanted == "true" else ~holding)


class ShadowListFilter(ShadowFilter):
    """The page's, which can be sorted; the API's pages always go by id."""

    sort = django_filters.ChoiceFilter(
        label=_("Sort"),
        choices=[("times", _("Seen most often first"))],
        empty_label=_("Last seen first"),
        method="sorted",
    )

    def sorted(self, queryset: QuerySet[Shadow], _name: str, _wanted: str) -> QuerySet[Shadow]:
        return queryset  # The page's keyset orders.


class SightingFilter(StrictFilterSet):
    server = django_filters.UUIDFilter(method="of_server", label=_("Server"))
    shadow = django_filters.UUIDFilter(field_name="shadow", label=_("Shadow server"))
    client = django_filters.CharFilter(label=_("Client"))
    place = django_filters.CharFilter(lookup_expr="icontains", label=_("Place"))
    inline_secret = django_filters.BooleanFilter(method="with_secret", label=_("Inline secret"))

    class Meta:
        model = Sighting
        fields: list[str] = []

    def of_server(self, queryset: QuerySet[Sighting], _name: str, server: Any) -> QuerySet[Sighting]:
        return queryset.filter(Q(server=server) | Q(shadow__server=server))

    def with_secret(self, queryset: QuerySet[Sighting], _name: str, wanted: bool) -> QuerySet[Sighting]:
        return queryset.exclude(secrets=[]) if wanted else queryset.filter(secrets=[])


class ProbeFilter(StrictFilterSet):
    server = django_filters.UUIDFilter(label=_("Server"), field_name="server_id")
    state = django_filters.MultipleChoiceFilter(label=_("State"), choices=ProbeState.choices, widget=ChoiceMenu)

    class Meta:
        model = Probe
        fields: list[str] = []


class SecretStateFilter(StrictFilterSet):
    """Of sources that come from `secret_states.with_state`."""

    q = django_filters.CharFilter(
        label=_("Search"),
        method="matching",
        widget=forms.TextInput(attrs={"type": "search", "placeholder": _("Reference or server")}),
    )
    state = django_filters.MultipleChoiceFilter(label=_("State"), choices=SecretState.choices, widget=ChoiceMenu)
    kind = django_filters.MultipleChoiceFilter(label=_("Kind"), choices=SecretSource.Kind.choices, widget=ChoiceMenu)
    overdue = django_filters.ChoiceFilter(
        label=_("Rotation"),
        choices=[("true", _("overdue")), ("false", _("not overdue"))],
        empty_label=_("Rotation: all"),
        method="by_rotation",
    )
    server = django_filters.UUIDFilter(label=_("Server"), field_name="server_id", widget=forms.HiddenInput)

    class Meta:
        model = SecretSource
        fields: list[str] = []

    def matching(self, queryset: QuerySet[SecretSource], _name: str, words: str) -> QuerySet[SecretSource]:
        server = Q(server__name__icontains=words) | Q(server__title__icontains=words)
        return queryset.filter(Q(reference__icontains=words) | Q(name__icontains=words) | server)

    def by_rotation(self, queryset: QuerySet[SecretSource], _name: str, wanted: str) -> QuerySet[SecretSource]:
        return explained_to(_actor(self.request), queryset).filter(Q(("overdue", wanted == "true")))


class SecretCheckFilter(StrictFilterSet):
    server = django_filters.UUIDFilter(label=_("Server"), field_name="server_id")
    source = django_filters.UUIDFilter(label=_("Secret source"), field_name="source_id")
    outcome = django_filters.MultipleChoiceFilter(
        label=_("Outcome"), choices=SecretCheck.Outcome.choices, widget=ChoiceMenu
    )

    class Meta:
        model = SecretCheck
        fields: list[str] = []


class SecretAttestationFilter(StrictFilterSet):
    server = django_filters.UUIDFilter(label=_("Server"), field_name="server_id")
    source = django_filters.UUIDFilter(label=_("Secret source"), field_name="source_id")

    class Meta:
        model = SecretAttestation
        fields: list[str] = []
