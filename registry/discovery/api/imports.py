"""REST resources of imports: hand entries in, follow the job, read what became of each."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.core.api import ReadViewSet, answer
from registry.core.pagination import KeysetPagination
from registry.discovery import queries, services
from registry.discovery.filters import ImportFilter, ResultFilter
from registry.discovery.formats import read_rows
from registry.discovery.models import ImportJob, ImportResult
from registry.discovery.plan import File
from registry.discovery.states import Outcome


class CountsSerializer(serializers.Serializer[Any]):
    imported = serializers.IntegerField()
    updated = serializers.IntegerField()
    seen = serializers.IntegerField()
    skipped = serializers.IntegerField()
    refused = serializers.IntegerField()


class ImportSerializer(serializers.ModelSerializer[ImportJob]):
    counts = serializers.SerializerMethodField(help_text="Results so far, per outcome.")

    class Meta:
        model = ImportJob
        fields = [
            "id", "version", "created_at", "updated_at", "requested_by", "source", "state", "state_reason", "processed",
            "total", "counts", "progressed_at", "finished_at",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(CountsSerializer)
    def get_counts(self, job: ImportJob) -> dict[str, int]:
        if hasattr(job, "n_imported"):
            return {outcome: getattr(job, f"n_{outcome}") for outcome in Outcome.values}
        return queries.counts(job)


class ImportResultSerializer(serializers.ModelSerializer[ImportResult]):
    reasons = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = ImportResult
        fields = ["position", "file", "index", "name", "outcome", "reasons", "server", "shadow"]
        read_only_fields = fields


class ImportInput(serializers.Serializer[Any]):
    # `source` is also the name of an attribute of every serializer field; here it is the caller's word.
    source = serializers.CharField(  # type: ignore[assignment]
        max_length=300, help_text="Where the entries come from, for the report."
    )
    entries = serializers.ListField(
        child=serializers.JSONField(),
        allow_empty=False,
        max_length=services.MAX_ENTRIES,
        help_text="server.json objects of any generation, or Docker catalogue rows. Each has its own result.",
    )


class ResultPagination(KeysetPagination):
    ordering = "position"


@extend_schema_view(
    list=extend_schema(summary="Imports, newest first"),
    retrieve=extend_schema(summary="One import with its progress"),
)
class ImportViewSet(ReadViewSet):
    room = "discovery"
    serializer_class = ImportSerializer
    filterset_class = ImportFilter

    def get_queryset(self) -> QuerySet[Any]:
        visible = ImportJob.objects.visible_to(self.actor)
        return queries.with_counts(visible) if self.action == "list" else visible

    @extend_schema(
        summary="Import entries as drafts",
        description="Answers at once; a worker does the entries. Repeating an import changes nothing.",
        request=ImportInput,
        responses={202: ImportSerializer},
    )
    def create(self, request: Request) -> Response:
        given = self.parse(ImportInput)
        file = File(given["source"], read_rows(given["entries"]))
        job = services.request_import(actor=self.actor, files=[file], source=given["source"])
        return answer(job, ImportSerializer(job).data, status.HTTP_202_ACCEPTED)

    @extend_schema(summary="What became of each entry", responses=ImportResultSerializer(many=True), filters=False)
    @action(detail=True, filterset_class=None, pagination_class=ResultPagination)
    def results(self, request: Request, pk: str | None = None) -> Response:
        job = self.get_object()
        visible = ImportResult.objects.visible_to(self.actor).filter(job=job)
        page = self.paginate_queryset(ResultFilter(request.query_params, visible).answered())
        return self.get_paginated_response(ImportResultSerializer(page, many=True).data)

    @extend_schema(
        summary="Stop an import",
        description="What was imported stays; entries that wait are forgotten.",
        request=None,
        responses=ImportSerializer,
    )
    @action(detail=True, methods=["post"])
    def stop(self, request: Request, pk: str | None = None) -> Response:
        job = services.stop_import(actor=self.actor, job=self.get_object())
        return answer(job, ImportSerializer(job).data)

    @extend_schema(summary="Resume a failed import", request=None, responses=ImportSerializer)
    @action(detail=True, methods=["post"])
    def start(self, request: Request, pk: str | None = None) -> Response:
        job = services.start_import(actor=self.actor, job=self.get_object())
        return answer(job, ImportSerializer(job).data)
