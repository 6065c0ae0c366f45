"""REST resources of followed registries, and of what is published."""

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.catalog.models import Server
from registry.core.api import ReadViewSet, answer, expected_version
from registry.core.pagination import KeysetPagination
from registry.discovery import services
from registry.discovery.filters import EntryFilter, PublicationFilter
from registry.discovery.models import Publication, RegistryEntry, RegistrySource
from registry.discovery.services.registries import LONGEST, SHORTEST, entry_counts


class EntryCountsSerializer(serializers.Serializer[Any]):
    active = serializers.IntegerField()
    deprecated = serializers.IntegerField()
    deleted = serializers.IntegerField()
    problem = serializers.IntegerField(help_text="Cannot become a draft.")


class RegistrySerializer(serializers.ModelSerializer[RegistrySource]):
    entries = serializers.SerializerMethodField(help_text="Entries per status; only in the detail.")

    class Meta:
        model = RegistrySource
        fields = [
            "id", "version", "created_at", "updated_at", "name", "base_url", "interval_minutes", "makes_drafts",
            "state", "state_reason", "due_at", "updated_since", "started_at", "progressed_at", "finished_at", "seen",
            "unreadable", "failures", "created_by", "entries",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(EntryCountsSerializer(allow_null=True))
    def get_entries(self, source: RegistrySource) -> dict[str, int] | None:
        if self.parent is not None:
            return None
        counts = entry_counts(source)
        return {name: counts[name] for name in ("active", "deprecated", "deleted", "problem")}


class RegistryInput(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)
    base_url = serializers.CharField(max_length=500, help_text="Without `/v0.1/servers`.")
    interval_minutes = serializers.IntegerField(default=60, min_value=SHORTEST, max_value=LONGEST)
    makes_drafts = serializers.BooleanField(default=True, help_text="What is new or changed there becomes an import.")


SETTINGS = ("name", "base_url", "interval_minutes", "makes_drafts")


class RegistryChanges(serializers.Serializer[Any]):
    """What is not sent stays."""

    name = serializers.CharField(max_length=120, required=False)
    base_url = serializers.CharField(max_length=500, required=False)
    interval_minutes = serializers.IntegerField(min_value=SHORTEST, max_value=LONGEST, required=False)
    makes_drafts = serializers.BooleanField(required=False)


class RegistryEntrySerializer(serializers.ModelSerializer[RegistryEntry]):
    class Meta:
        model = RegistryEntry
        fields = [
            "name", "version", "status", "is_latest", "published_at", "updated_at", "seen_at", "problem", "job",
        ]  # fmt: skip
        read_only_fields = fields


class EntryPagination(KeysetPagination):
    ordering = ("name", "version")  # type: ignore[assignment]


@extend_schema_view(
    list=extend_schema(summary="Registries that are followed"),
    retrieve=extend_schema(summary="One followed registry with its progress"),
)
class RegistryViewSet(ReadViewSet):
    room = "discovery"
    serializer_class = RegistrySerializer

    def get_queryset(self) -> QuerySet[Any]:
        return RegistrySource.objects.visible_to(self.actor)

    @extend_schema(summary="Follow a registry", request=RegistryInput, responses={201: RegistrySerializer})
    def create(self, request: Request) -> Response:
        source = services.follow_registry(actor=self.actor, **self.parse(RegistryInput))
        return answer(source, RegistrySerializer(source).data, status.HTTP_201_CREATED)

    @extend_schema(summary="Change how a registry is followed", request=RegistryChanges, responses=RegistrySerializer)
    def partial_update(self, request: Request, pk: str | None = None) -> Response:
        source = self.get_object()
        values = {name: getattr(source, name) for name in SETTINGS} | self.parse(RegistryChanges)
        version = expected_version(request)
        changed = services.change_registry(actor=self.actor, source=source, expected_version=version, **values)
        return answer(changed, RegistrySerializer(changed).data)

    @extend_schema(summary="What it holds", responses=RegistryEntrySerializer(many=True), filters=False)
    @action(detail=True, pagination_class=EntryPagination)
    def entries(self, request: Request, pk: str | None = None) -> Response:
        visible = RegistryEntry.objects.visible_to(self.actor).filter(source=self.get_object()).defer("waiting")
        page = self.paginate_queryset(EntryFilter(request.query_params, visible).answered())
        return self.get_paginated_response(RegistryEntrySerializer(page, many=True).data)

    def _acted(self, act: Callable[..., RegistrySource]) -> Response:
        source = act(actor=self.actor, source=self.get_object())
        return answer(source, RegistrySerializer(source).data)

    @extend_schema(summary="Stop reading it", request=None, responses=RegistrySerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str | None = None) -> Response:
        return self._acted(services.pause_registry)

    @extend_schema(summary="Read it again", request=None, responses=RegistrySerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str | None = None) -> Response:
        return self._acted(services.resume_registry)

    @extend_schema(summary="Read it now", request=None, responses=RegistrySerializer)
    @action(detail=True, methods=["post"])
    def sync(self, request: Request, pk: str | None = None) -> Response:
        return self._acted(services.sync_registry)


class PublicationSerializer(serializers.ModelSerializer[Publication]):
    # `version` is the name of it in the format; our model calls it what the catalog does.
    version = serializers.CharField(source="release")

    class Meta:
        model = Publication
        fields = [
            "id", "server", "name", "version", "status", "status_message", "status_changed_at", "published_at",
            "updated_at", "is_latest", "certified_until", "facts", "body",
        ]  # fmt: skip
        read_only_fields = fields


@extend_schema_view(
    list=extend_schema(summary="Versions that are or were published, newest first"),
    retrieve=extend_schema(summary="One published version"),
)
class PublicationViewSet(ReadViewSet):
    """What clients are told, as members see it. Clients read `/v0.1/servers`."""

    room = "discovery"
    serializer_class = PublicationSerializer
    filterset_class = PublicationFilter

    def get_queryset(self) -> QuerySet[Any]:
        return Publication.objects.filter(server__in=Server.objects.visible_to(self.actor))

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(self.get_serializer(self.get_object()).data)
