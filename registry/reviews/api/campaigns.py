"""REST resources: campaigns."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import (
    OpenApiResponse,
    extend_schema,
    extend_schema_field,
    extend_schema_view,
)
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounts.models import User
from registry.core.api import ReadViewSet, answer, expected_version
from registry.reviews import population, queries, services
from registry.reviews.api.shared import AUTH_METHOD, IF_MATCH
from registry.reviews.filters import (
    CampaignFilter,
)
from registry.reviews.models import (
    Campaign,
    Template,
)


class CampaignSerializer(serializers.ModelSerializer[Campaign]):
    class Meta:
        model = Campaign
        fields = [
            "id", "version", "created_at", "updated_at", "kind", "template", "name", "period", "scope", "scope_hash",
            "population_hash", "state", "state_reason", "owner", "instructions", "due_at", "launched_at",
            "completed_at", "processed", "total",
        ]  # fmt: skip
        read_only_fields = fields


class ProgressSerializer(serializers.Serializer[Any]):
    total = serializers.IntegerField(help_text="Items that ask for an answer.")
    decided = serializers.IntegerField(help_text="With an answer, signed or not.")
    signed = serializers.IntegerField()
    by_value = serializers.DictField(child=serializers.IntegerField())


class CampaignDetailSerializer(CampaignSerializer):
    progress = serializers.SerializerMethodField()
    gate = serializers.SerializerMethodField(help_text="Why a staged campaign does not start yet.")

    class Meta(CampaignSerializer.Meta):
        fields = [*CampaignSerializer.Meta.fields, "progress", "gate"]
        read_only_fields = fields

    @extend_schema_field(ProgressSerializer)
    def get_progress(self, campaign: Campaign) -> dict[str, Any]:
        found = queries.progress(campaign)
        return {"total": found.total, "decided": found.decided, "signed": found.signed, "by_value": found.by_value}

    def get_gate(self, campaign: Campaign) -> list[str]:
        return population.gate(campaign).problems if campaign.state == "staged" else []


class LaunchInput(serializers.Serializer[Any]):
    template = serializers.PrimaryKeyRelatedField(queryset=Template.objects.all())
    period = serializers.CharField(max_length=40, required=False, help_text="Default: from the cadence, as 2026-Q4.")


class ReviewReasonInput(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=2000)


class ExtendInput(ReviewReasonInput):
    until = serializers.DateField()


class StatementInput(serializers.Serializer[Any]):
    statement = serializers.CharField(max_length=2000)


class RemindInput(serializers.Serializer[Any]):
    reviewer = serializers.PrimaryKeyRelatedField(queryset=User.objects.all())


@extend_schema_view(retrieve=extend_schema(responses=CampaignDetailSerializer))
class CampaignViewSet(ReadViewSet):
    """One run of a template, or the intake review of one registration."""

    room = "reviews"
    serializer_class = CampaignSerializer
    filterset_class = CampaignFilter

    def get_queryset(self) -> QuerySet[Campaign]:
        return Campaign.objects.visible_to(self.actor)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self._answer(self.get_object())

    def _answer(self, campaign: Campaign, code: int = status.HTTP_200_OK) -> Response:
        return answer(campaign, CampaignDetailSerializer(campaign).data, code)

    def _act(self, service: Any, **facts: Any) -> Response:
        campaign = self.get_object()
        campaign.check_version(expected_version(self.request))
        service(actor=self.actor, campaign=campaign, **facts)
        campaign.refresh_from_db()
        return self._answer(campaign)

    @extend_schema(
        summary="Launch a campaign from a template",
        request=LaunchInput,
        responses={
            201: CampaignDetailSerializer,
            409: OpenApiResponse(
                description="The template ran for this period and scope; the detail names that campaign."
            ),
        },
    )
    def create(self, request: Request) -> Response:
        campaign = services.launch_campaign(actor=self.actor, **self.parse(LaunchInput))
        return self._answer(campaign, status.HTTP_201_CREATED)

    @extend_schema(
        summary="Open a staged campaign", request=None, responses=CampaignDetailSerializer, parameters=[IF_MATCH]
    )
    @action(detail=True, methods=["post"])
    def activate(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.activate_campaign)

    @extend_schema(
        summary="Look for reviewers again", request=None, responses=CampaignDetailSerializer, parameters=[IF_MATCH]
    )
    @action(detail=True, methods=["post"], url_path="retry-assignment")
    def retry_assignment(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.retry_assignment)

    @extend_schema(
        summary="Go on with a launch that failed",
        request=None,
        responses=CampaignDetailSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"], url_path="retry-generation")
    def retry_generation(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.retry_generation)

    @extend_schema(
        summary="Cancel", request=ReviewReasonInput, responses=CampaignDetailSerializer, parameters=[IF_MATCH]
    )
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.cancel_campaign, **self.parse(ReviewReasonInput))

    @extend_schema(
        summary="Move the deadline", request=ExtendInput, responses=CampaignDetailSerializer, parameters=[IF_MATCH]
    )
    @action(detail=True, methods=["post"])
    def extend(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.extend_campaign, **self.parse(ExtendInput))

    @extend_schema(
        summary="Sign the whole campaign",
        request=StatementInput,
        responses=CampaignDetailSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def close(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.close_campaign, auth_method=AUTH_METHOD, **self.parse(StatementInput))

    @extend_schema(
        summary="Remind one reviewer by mail",
        request=RemindInput,
        responses=CampaignDetailSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def remind(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.remind_reviewer, **self.parse(RemindInput))
