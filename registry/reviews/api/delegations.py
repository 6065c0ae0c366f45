"""REST resources: who is away and who stands in, and how reviewers decide."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from registry.accounts.models import User
from registry.core.api import ReadViewSet, answer, expected_version
from registry.core.filtering import refuse_unknown
from registry.core.rest import actor_of
from registry.reviews import reports, services
from registry.reviews.absence import visible_delegations
from registry.reviews.api.shared import IF_MATCH
from registry.reviews.filters import DelegationFilter
from registry.reviews.models import Delegation


class DelegationSerializer(serializers.ModelSerializer[Delegation]):
    class Meta:
        model = Delegation
        fields = ["id", "version", "created_at", "delegator", "delegate", "starts_on", "ends_on", "note", "ended_at"]
        read_only_fields = fields


class DelegationInput(serializers.Serializer[Any]):
    delegator = serializers.PrimaryKeyRelatedField(
        queryset=User.objects.all(), required=False, help_text="Who is away; yourself when left out."
    )
    delegate = serializers.PrimaryKeyRelatedField(queryset=User.objects.all())
    starts_on = serializers.DateField()
    ends_on = serializers.DateField()
    note = serializers.CharField(max_length=300, allow_blank=True, default="")


class DelegationViewSet(ReadViewSet):
    """Absences: between two days somebody stands in. Your own, and those you stand in for; administrators see all."""

    room = "reviews"
    serializer_class = DelegationSerializer
    filterset_class = DelegationFilter

    def get_queryset(self) -> QuerySet[Delegation]:
        return visible_delegations(self.actor)

    @extend_schema(
        summary="Say who stands in", request=DelegationInput, responses={201: DelegationSerializer}, filters=False
    )
    def create(self, request: Request) -> Response:
        facts = self.parse(DelegationInput)
        facts.setdefault("delegator", self.actor.user)
        made = services.create_delegation(actor=self.actor, **facts)
        return answer(made, DelegationSerializer(made).data, status.HTTP_201_CREATED)

    @extend_schema(
        summary="Back early", request=None, responses=DelegationSerializer, parameters=[IF_MATCH], filters=False
    )
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def end(self, request: Request, pk: str | None = None) -> Response:
        ended = services.end_delegation(
            actor=self.actor, delegation=self.get_object(), expected_version=expected_version(request)
        )
        return answer(ended, DelegationSerializer(ended).data)


class ReviewerLineSerializer(serializers.Serializer[Any]):
    """Over all campaigns of a year. Shares from 0 to 1, the median in seconds."""

    reviewer = serializers.UUIDField(source="reviewer.pk")
    campaigns = serializers.IntegerField()
    decisions = serializers.IntegerField()
    median = serializers.FloatField()
    kept = serializers.FloatField(help_text="Share certified without any cut.")
    opened = serializers.FloatField(help_text="Share whose evidence was opened.")
    bulk = serializers.FloatField()
    open = serializers.IntegerField(help_text="Undecided at this moment.")
    overdue = serializers.IntegerField()
    red = serializers.IntegerField(help_text="Red verdicts on how carefully they decided.")
    confirmed = serializers.IntegerField(help_text="Red verdicts that a second person let through.")


class ReviewerStatisticsView(ViewSet):
    """How reviewers decide: everybody's for those who oversee, else your own."""

    room = "reviews"

    @extend_schema(
        summary="How reviewers decide, over a year", responses=ReviewerLineSerializer(many=True), filters=False
    )
    def list(self, request: Request) -> Response:
        refuse_unknown(request.query_params, [])
        return Response(ReviewerLineSerializer(reports.reviewer_table(actor_of(request)), many=True).data)
