"""Toxic combinations: what security looks for, and which agents have it."""

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.catalog.models import DataClass, System, ToolClass
from registry.core.api import ReadViewSet, ReasonInput, answer, expected_version
from registry.core.errors import NotFound
from registry.core.permissions import allows
from registry.trust import services
from registry.trust.api.acts import IF_MATCH
from registry.trust.api.asking import AS_OF, IF_NONE_MATCH, PAGING, Given, QuestionView
from registry.trust.api.naming import Names
from registry.trust.api.schemas import AnswerSerializer, PathSerializer, ReferenceSerializer, links
from registry.trust.models import Combination, Connection
from registry.trust.queries import Questions


class LegSerializer(serializers.Serializer[Any]):
    """What some path of the agent meets. An empty list restricts nothing."""

    label = serializers.CharField(max_length=100)  # type: ignore[assignment]
    tool_classes = serializers.ListField(child=serializers.ChoiceField(ToolClass.choices), required=False)
    system_kinds = serializers.ListField(child=serializers.ChoiceField(System.Kind.choices), required=False)
    data_classes = serializers.ListField(child=serializers.ChoiceField(DataClass.choices), required=False)
    access = serializers.ListField(child=serializers.ChoiceField(Connection.Access.choices), required=False)
    open_world = serializers.BooleanField(
        required=False, help_text="Or a granted tool says of itself that it talks to an open world."
    )

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping) and (unknown := set(data) - set(self.fields)):
            # A misspelt condition would make the leg one that every agent meets.
            raise serializers.ValidationError({name: ["A leg knows no such field."] for name in unknown})
        return super().to_internal_value(data)


class CombinationInput(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100)
    explanation = serializers.CharField(max_length=2000)
    legs = LegSerializer(many=True)


class CombinationSerializer(serializers.ModelSerializer[Any]):
    legs = LegSerializer(many=True, read_only=True)

    class Meta:
        model = Combination
        fields = ["id", "version", "created_at", "updated_at", "name", "explanation", "legs", "retired_at"]
        read_only_fields = fields


class SoughtSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    explanation = serializers.CharField()
    legs = LegSerializer(many=True)
    agents = serializers.IntegerField(help_text="How many agents meet every leg, with those you may not see.")


class LegMetSerializer(serializers.Serializer[Any]):
    label = serializers.CharField()  # type: ignore[assignment]
    path = PathSerializer()


class MatchSerializer(serializers.Serializer[Any]):
    combination = serializers.UUIDField()
    agent = ReferenceSerializer()
    legs = LegMetSerializer(many=True, help_text="For each leg one path that meets it.")


class CombinationsSerializer(AnswerSerializer):
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="Agents by combination.")
    hidden = serializers.DictField(child=serializers.IntegerField(), help_text="Agents you may not see.")
    combinations = SoughtSerializer(many=True, required=False)
    matches = MatchSerializer(many=True, required=False)
    next = links("Combinations", "matches")


class CombinationsQuestion(QuestionView):
    """Which agents have what is looked for: all of it, or `combination` alone."""

    takes, lists = ("combination",), ("combinations", "matches")

    def answer(self, questions: Questions, given: Given) -> dict[str, Any]:
        sought = Combination.objects.filter(retired_at=None)
        one = given.subject(questions, "combination")[1] if given.text("combination") else None
        if one is not None:
            sought = sought.filter(pk=one)
            if not sought.exists():
                raise NotFound(fields={"combination": ["There is no such combination, or it is retired."]})
        found = questions.combinations(one)
        shown = given.paged(matches=found.matches)
        names = Names(questions, *(("agent", row.agent) for row in shown["matches"]))
        for row in shown["matches"]:
            names.also_of_paths(leg.path for leg in row.legs)
        return {
            "counts": found.counts,
            "hidden": found.hidden,
            "combinations": [
                {
                    "id": each.pk,
                    "name": each.name,
                    "explanation": each.explanation,
                    "legs": each.legs,
                    "agents": found.counts.get(str(each.pk), 0),
                }
                for each in sought
            ],
            **shown.body(
                matches=[
                    {
                        "combination": row.combination,
                        "agent": names.of("agent", row.agent, "id", "name"),
                        "legs": [{"label": leg.label, "path": names.path(leg.path)} for leg in row.legs],
                    }
                    for row in shown["matches"]
                ]
            ),
        }


class CombinationViewSet(ReadViewSet):
    """What no agent should hold together. Everybody reads it; security keeps it."""

    room = "trust"
    serializer_class = CombinationSerializer
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[Any]:
        return Combination.objects.all() if allows(self.actor, "trust.view") else Combination.objects.none()

    def _answer(self, combination: Combination, code: int = status.HTTP_200_OK) -> Response:
        return answer(combination, CombinationSerializer(combination).data, code)

    @extend_schema(
        summary="What is looked for, and which agents have all of it",
        parameters=[
            OpenApiParameter("combination", str, description="Id of one combination."),
            AS_OF,
            *PAGING,
            IF_NONE_MATCH,
        ],
        responses=forced_singular_serializer(CombinationsSerializer),
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return CombinationsQuestion().get(request)

    @extend_schema(
        summary="Look for another combination", request=CombinationInput, responses={201: CombinationSerializer}
    )
    def create(self, request: Request) -> Response:
        made = services.create_combination(actor=self.actor, **self.parse(CombinationInput))
        return self._answer(made, status.HTTP_201_CREATED)

    @extend_schema(
        summary="Say it differently, all of it",
        parameters=[IF_MATCH],
        request=CombinationInput,
        responses=CombinationSerializer,
    )
    def update(self, request: Request, pk: str | None = None) -> Response:
        changed = services.change_combination(
            actor=self.actor,
            combination=self.get_object(),
            expected_version=expected_version(request),
            **self.parse(CombinationInput),
        )
        return self._answer(changed)

    @extend_schema(
        summary="Look for it no longer", parameters=[IF_MATCH], request=ReasonInput, responses=CombinationSerializer
    )
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str | None = None) -> Response:
        retired = services.retire_combination(
            actor=self.actor,
            combination=self.get_object(),
            expected_version=expected_version(request),
            **self.parse(ReasonInput),
        )
        return self._answer(retired)
