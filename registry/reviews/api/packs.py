"""REST resource: audit packs."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.core import limits
from registry.core.api import ReadViewSet, SeenField, answer
from registry.core.errors import Invalid
from registry.reviews.downloads import answer_pack
from registry.reviews.filters import PackFilter
from registry.reviews.models import AuditPack, Campaign
from registry.reviews.services import packs as services


class AuditPackSerializer(serializers.ModelSerializer[AuditPack]):
    class Meta:
        model = AuditPack
        fields = [
            "id", "created_at", "campaign", "since", "until", "asked_by", "state", "step", "processed", "total",
            "failure", "digest", "manifest_digest", "size", "made_at", "expires_at",
        ]  # fmt: skip
        read_only_fields = fields


class AuditPackInput(serializers.Serializer[Any]):
    """Either a campaign, or the first and the last day of a period."""

    campaign = SeenField(Campaign, required=False)
    since = serializers.DateField(required=False)
    until = serializers.DateField(required=False)


@extend_schema_view(
    list=extend_schema(summary="Audit packs one may take, newest first"),
    retrieve=extend_schema(summary="One audit pack, and how far it is"),
)
class AuditPackViewSet(ReadViewSet):
    """Those of the campaigns one owns; all for security, auditors and administrators."""

    room = "reviews"
    queryset = AuditPack.objects.none()
    serializer_class = AuditPackSerializer
    filterset_class = PackFilter

    def get_queryset(self) -> QuerySet[AuditPack]:
        return AuditPack.objects.visible_to(self.actor).select_related("campaign", "asked_by")

    @extend_schema(
        summary="Ask for the pack of a campaign or of a period",
        description="One that is being made already is the answer to whoever asks meanwhile.",
        request=AuditPackInput,
        responses={
            201: AuditPackSerializer,
            409: OpenApiResponse(description="The population of the campaign is not settled yet."),
        },
    )
    def create(self, request: Request) -> Response:
        asked = self.parse(AuditPackInput)
        if asked.keys() == {"campaign"}:
            pack = services.pack_campaign(actor=self.actor, **asked)
        elif asked.keys() == {"since", "until"}:
            pack = services.pack_period(actor=self.actor, **asked)
        else:
            raise Invalid(fields={"campaign": ["Give a campaign, or since and until."]})
        return answer(pack, AuditPackSerializer(pack).data, status.HTTP_201_CREATED)

    @extend_schema(
        summary="The archive",
        description="Streamed. The ETag is its SHA-256; If-None-Match answers 304.",
        responses={
            (200, "application/zip"): OpenApiTypes.BINARY,
            304: OpenApiResponse(description="You have it."),
            409: OpenApiResponse(description="It is not made, failed or has expired."),
        },
        filters=False,
    )
    @action(detail=True, filterset_class=None, pagination_class=None)
    @limits.counts_as("export")
    def file(self, request: Request, pk: str | None = None) -> HttpResponseBase:
        return answer_pack(request, self.actor, self.get_object())
