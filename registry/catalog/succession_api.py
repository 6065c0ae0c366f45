"""Succession over REST: what is without an owner, who is asked, and their answers."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounts.models import User
from registry.catalog import services
from registry.catalog.filters import ProposalFilter, VacancyFilter
from registry.catalog.models import Proposal, Vacancy
from registry.core.api import ReadViewSet, ReasonInput, SeenField, answer, expected_version

_stamps = ["id", "version", "created_at", "updated_at"]


class VacancySerializer(serializers.ModelSerializer[Vacancy]):
    kind = serializers.ChoiceField(["server", "system", "agent"], read_only=True)

    class Meta:
        model = Vacancy
        fields = [
            *_stamps, "kind", "server", "system", "agent", "former_owner", "interim", "state", "ended_at",
            "ended_because",
        ]  # fmt: skip
        read_only_fields = fields


class ProposalSerializer(serializers.ModelSerializer[Proposal]):
    class Meta:
        model = Proposal
        fields = [*_stamps, "vacancy", "successor", "proposed_by", "rule", "note", "state", "answer", "answered_at"]
        read_only_fields = fields


class ProposalsInput(serializers.Serializer[Any]):
    """One question about many things, all or none."""

    vacancies = serializers.ListField(
        child=SeenField(Vacancy), min_length=1, max_length=services.MOST_AT_ONCE, help_text="Ids of vacancies."
    )
    successor = serializers.PrimaryKeyRelatedField(queryset=User.objects.filter(is_active=True))
    note = serializers.CharField(max_length=1000, required=False, allow_blank=True)


class AcceptInput(serializers.Serializer[Any]):
    deputy = serializers.PrimaryKeyRelatedField(
        queryset=User.objects.filter(is_active=True),
        required=False,
        allow_null=True,
        help_text="Who stands in for you. Needed when you were the deputy and neither a team lead nor a manager is.",
    )


@extend_schema_view(
    list=extend_schema(summary="What is without an owner since somebody left", tags=["catalog"]),
    retrieve=extend_schema(summary="One vacancy", tags=["catalog"]),
)
class VacancyViewSet(ReadViewSet):
    room = "catalog"
    queryset = Vacancy.objects.none()
    serializer_class = VacancySerializer
    filterset_class = VacancyFilter

    def get_queryset(self) -> QuerySet[Vacancy]:
        return Vacancy.objects.visible_to(self.actor)


@extend_schema_view(
    list=extend_schema(summary="Who is asked to take something over", tags=["catalog"]),
    retrieve=extend_schema(summary="One proposal", tags=["catalog"]),
)
class ProposalViewSet(ReadViewSet):
    """Proposals are questions: only the yes of whoever is asked makes them the owner."""

    room = "catalog"
    queryset = Proposal.objects.none()
    serializer_class = ProposalSerializer
    filterset_class = ProposalFilter

    def get_queryset(self) -> QuerySet[Proposal]:
        return Proposal.objects.visible_to(self.actor)

    def _answer(self, proposal: Proposal) -> Response:
        fresh = Proposal.objects.get(pk=proposal.pk)
        return answer(fresh, ProposalSerializer(fresh).data)

    @extend_schema(
        summary="Ask somebody to take over things whose owner left",
        tags=["catalog"],
        request=ProposalsInput,
        responses={201: ProposalSerializer(many=True)},
    )
    def create(self, request: Request) -> Response:
        made = services.propose_successor(actor=self.actor, **self.parse(ProposalsInput))
        return Response(ProposalSerializer(made, many=True).data, status=status.HTTP_201_CREATED)

    @extend_schema(summary="Take it over", tags=["catalog"], request=AcceptInput, responses={200: ProposalSerializer})
    @action(detail=True, methods=["post"])
    def accept(self, request: Request, pk: str) -> Response:
        proposal = self.get_object()
        facts = self.parse(AcceptInput)
        services.accept_proposals(
            actor=self.actor, proposals=[proposal], expected_version=expected_version(request), **facts
        )
        return self._answer(proposal)

    @extend_schema(summary="Say no to it", tags=["catalog"], request=ReasonInput, responses={200: ProposalSerializer})
    @action(detail=True, methods=["post"])
    def decline(self, request: Request, pk: str) -> Response:
        proposal = self.get_object()
        facts = self.parse(ReasonInput)
        services.decline_proposals(
            actor=self.actor, proposals=[proposal], expected_version=expected_version(request), **facts
        )
        return self._answer(proposal)

    @extend_schema(summary="Ask no longer", tags=["catalog"], request=ReasonInput, responses={200: ProposalSerializer})
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, pk: str) -> Response:
        proposal = self.get_object()
        facts = self.parse(ReasonInput)
        services.withdraw_proposal(
            actor=self.actor, proposal=proposal, expected_version=expected_version(request), **facts
        )
        return self._answer(proposal)


routes: list[Any] = [("vacancies", VacancyViewSet, "vacancy"), ("proposals", ProposalViewSet, "proposal")]
