"""Roles that a second person confirms, and roles taken in an emergency, as REST resources."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounts import services
from registry.accounts.filters import ElevationFilter, RoleProposalFilter
from registry.accounts.models import Elevation, Role, RoleProposal
from registry.accounts.queries import role_proposals_visible_to, roles_taken_visible_to
from registry.core.api import ReadViewSet, answer, expected_version

_stamps = ["id", "version", "created_at", "updated_at"]


class RoleProposalSerializer(serializers.ModelSerializer[RoleProposal]):
    roles = serializers.ListField(child=serializers.ChoiceField(Role.choices), read_only=True)

    class Meta:
        model = RoleProposal
        fields = [*_stamps, "user", "roles", "proposed_by", "state", "decided_by", "decided_at"]
        read_only_fields = fields


@extend_schema_view(
    list=extend_schema(summary="Roles that were proposed", tags=["accounts"]),
    retrieve=extend_schema(summary="One proposal of roles", tags=["accounts"]),
)
class RoleProposalViewSet(ReadViewSet):
    """Whoever would oversee others needs a second person, who neither proposed it nor gets the roles."""

    room = "accounts"
    queryset = RoleProposal.objects.none()
    serializer_class = RoleProposalSerializer
    filterset_class = RoleProposalFilter

    def get_queryset(self) -> QuerySet[RoleProposal]:
        return role_proposals_visible_to(self.actor)

    def _decide(self, request: Request, confirm: bool) -> Response:
        proposal = services.decide_roles(
            actor=self.actor, proposal=self.get_object(), confirm=confirm, expected_version=expected_version(request)
        )
        return answer(proposal, RoleProposalSerializer(proposal).data)

    @extend_schema(summary="Confirm roles", tags=["accounts"], request=None, responses={200: RoleProposalSerializer})
    @action(detail=True, methods=["post"])
    def confirm(self, request: Request, pk: str) -> Response:
        return self._decide(request, True)

    @extend_schema(
        summary="Refuse or withdraw roles", tags=["accounts"], request=None, responses={200: RoleProposalSerializer}
    )
    @action(detail=True, methods=["post"])
    def refuse(self, request: Request, pk: str) -> Response:
        return self._decide(request, False)


class ElevationSerializer(serializers.ModelSerializer[Elevation]):
    is_open = serializers.BooleanField(read_only=True)

    class Meta:
        model = Elevation
        fields = [
            *_stamps, "user", "role", "reason", "started_at", "ends_at", "is_open", "ended_at", "ended_by",
            "reviewed_at", "reviewed_by", "finding",
        ]  # fmt: skip
        read_only_fields = fields


class RoleTaken(serializers.Serializer[Any]):
    role = serializers.ChoiceField(choices=Role.choices)
    reason = serializers.CharField(max_length=500)
    hours = serializers.IntegerField(min_value=1, max_value=services.MAX_HOURS, default=1)


class FindingGiven(serializers.Serializer[Any]):
    finding = serializers.CharField(max_length=500)


@extend_schema_view(
    list=extend_schema(summary="Roles that were taken in an emergency", tags=["accounts"]),
    retrieve=extend_schema(summary="One emergency role", tags=["accounts"]),
)
class ElevationViewSet(ReadViewSet):
    """Only a person in a browser's session takes one: a token can neither take it nor have it."""

    room = "accounts"
    queryset = Elevation.objects.none()
    serializer_class = ElevationSerializer
    filterset_class = ElevationFilter

    def get_queryset(self) -> QuerySet[Elevation]:
        return roles_taken_visible_to(self.actor)

    @extend_schema(
        summary="Take a role in an emergency",
        tags=["accounts"],
        request=RoleTaken,
        responses={201: ElevationSerializer},
    )
    def create(self, request: Request) -> Response:
        taken = services.take_role(actor=self.actor, **self.parse(RoleTaken))
        return answer(taken, ElevationSerializer(taken).data, status=201)

    @extend_schema(summary="End it now", tags=["accounts"], request=None, responses={200: ElevationSerializer})
    @action(detail=True, methods=["post"])
    def end(self, request: Request, pk: str) -> Response:
        taken = services.end_role(actor=self.actor, elevation=self.get_object())
        return answer(taken, ElevationSerializer(taken).data)

    @extend_schema(
        summary="Say what was found in it",
        tags=["accounts"],
        request=FindingGiven,
        responses={200: ElevationSerializer},
    )
    @action(detail=True, methods=["post"])
    def review(self, request: Request, pk: str) -> Response:
        taken = services.review_role(
            actor=self.actor,
            elevation=self.get_object(),
            expected_version=expected_version(request),
            **self.parse(FindingGiven),
        )
        return answer(taken, ElevationSerializer(taken).data)


routes: list[Any] = [
    ("role-proposals", RoleProposalViewSet, "role-proposal"),
    ("emergency-roles", ElevationViewSet, "emergency-role"),
]
