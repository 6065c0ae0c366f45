"""REST resources: how carefully somebody decided, and the word of a second person."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.core.api import ReadViewSet
from registry.core.pagination import KeysetPagination
from registry.reviews import services
from registry.reviews.api.campaigns import ReviewReasonInput
from registry.reviews.filters import QualityFilter
from registry.reviews.models import QualityConfirmation, QualityVerdict


class NewestVerdicts(KeysetPagination):
    ordering = ("-at", "-id")  # type: ignore[assignment]


class ConfirmationSerializer(serializers.ModelSerializer[QualityConfirmation]):
    class Meta:
        model = QualityConfirmation
        fields = ["by", "reason", "at"]
        read_only_fields = fields


class QualityVerdictSerializer(serializers.ModelSerializer[QualityVerdict]):
    """Times in milliseconds, shares from 0 to 1. `drafts_digest` names the drafts it is about."""

    metrics = serializers.DictField(read_only=True)
    reasons = serializers.ListField(child=serializers.CharField(), read_only=True)
    confirmation = ConfirmationSerializer(allow_null=True, read_only=True, default=None)

    class Meta:
        model = QualityVerdict
        fields = [
            "id", "campaign", "reviewer", "stage", "drafts_digest", "verdict", "reasons", "metrics", "at",
            "confirmation",
        ]  # fmt: skip
        read_only_fields = fields


@extend_schema_view(
    list=extend_schema(summary="Verdicts on sets of drafts, newest first"),
    retrieve=extend_schema(summary="One verdict"),
)
class QualityVerdictViewSet(ReadViewSet):
    """One's own; those of one's campaigns; all for whoever runs or oversees campaigns."""

    room = "reviews"
    queryset = QualityVerdict.objects.none()
    serializer_class = QualityVerdictSerializer
    filterset_class = QualityFilter
    pagination_class = NewestVerdicts

    def get_queryset(self) -> QuerySet[QualityVerdict]:
        return QualityVerdict.objects.visible_to(self.actor).select_related("confirmation", "campaign", "reviewer")

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        # A verdict has no versions, so no ETag to work on.
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        summary="Let somebody's hasty decisions be signed, as a second person",
        request=ReviewReasonInput,
        responses={
            201: ConfirmationSerializer,
            409: OpenApiResponse(description="Not red, confirmed already, or the drafts are others by now."),
        },
    )
    @action(detail=True, methods=["post"])
    def confirm(self, request: Request, pk: str | None = None) -> Response:
        given = services.confirm_quality(actor=self.actor, verdict=self.get_object(), **self.parse(ReviewReasonInput))
        return Response(ConfirmationSerializer(given).data, status.HTTP_201_CREATED)
