"""REST resources: campaign templates."""

from typing import Any

from drf_spectacular.utils import (
    extend_schema,
)
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounts.models import Team, User
from registry.core.api import ReadViewSet, answer, expected_version
from registry.reviews import population, services
from registry.reviews.api.shared import IF_MATCH
from registry.reviews.filters import (
    TemplateFilter,
)
from registry.reviews.models import (
    SubjectKind,
    Template,
    TemplateStage,
)


class ScopeSerializer(serializers.Serializer[Any]):
    """Filters as on the list pages; what is absent does not restrict. Without lifecycle and status: what is active."""

    tier = serializers.ListField(child=serializers.CharField(), required=False)
    environment = serializers.ListField(child=serializers.CharField(), required=False)
    team = serializers.ListField(child=serializers.UUIDField(), required=False)
    lifecycle = serializers.ListField(child=serializers.CharField(), required=False, help_text="Of servers.")
    status = serializers.ListField(child=serializers.CharField(), required=False, help_text="Of relationships.")
    q = serializers.CharField(required=False, allow_blank=True)


class StageSerializer(serializers.ModelSerializer[TemplateStage]):
    class Meta:
        model = TemplateStage
        fields = [
            "position", "name", "reviewer_rule", "fallback", "group", "reviewers", "reviewers_per_item", "strategy",
            "duration_days",
        ]  # fmt: skip
        read_only_fields = fields


class StageInput(serializers.Serializer[Any]):
    """One round of reviewers. Nobody decides on the same item in two of them."""

    name = serializers.CharField(max_length=80, required=False, allow_blank=True)
    reviewer_rule = serializers.ChoiceField(TemplateStage.ReviewerRule.choices, required=False)
    fallback = serializers.ListField(child=serializers.ChoiceField(TemplateStage.ReviewerRule.choices), required=False)
    group = serializers.PrimaryKeyRelatedField(queryset=Team.objects.all(), required=False, allow_null=True)
    reviewers = serializers.PrimaryKeyRelatedField(
        queryset=User.objects.all(), many=True, required=False, help_text="Empty: everybody with the role reviewer."
    )
    reviewers_per_item = serializers.IntegerField(required=False, min_value=1, max_value=5)
    strategy = serializers.ChoiceField(TemplateStage.Strategy.choices, required=False)
    duration_days = serializers.IntegerField(required=False)


class TemplateSerializer(serializers.ModelSerializer[Template]):
    scope = ScopeSerializer(read_only=True)
    stages = StageSerializer(many=True, read_only=True)

    class Meta:
        model = Template
        fields = [
            "id", "version", "created_at", "updated_at", "name", "kinds", "scope", "rolling", "stages",
            "cadence_days", "risk_analysis", "ladder", "challenge_days", "grouping", "for_changes", "instructions",
            "owner", "enabled", "next_run_on",
        ]  # fmt: skip
        read_only_fields = fields


class TemplateInput(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)
    kinds = serializers.ListField(child=serializers.ChoiceField(SubjectKind.choices))
    scope = ScopeSerializer(required=False)
    rolling = serializers.BooleanField(required=False)
    stages = StageInput(many=True, required=False)
    cadence_days = serializers.IntegerField(required=False)
    risk_analysis = serializers.CharField(max_length=4000, required=False, allow_blank=True)
    ladder = serializers.JSONField(required=False)
    challenge_days = serializers.IntegerField(required=False, min_value=0)
    grouping = serializers.ChoiceField(Template.Grouping.choices, required=False)
    for_changes = serializers.BooleanField(required=False)
    instructions = serializers.CharField(max_length=4000, required=False, allow_blank=True)
    enabled = serializers.BooleanField(required=False)
    next_run_on = serializers.DateField(required=False, allow_null=True)


class TemplatePatch(TemplateInput):
    name = serializers.CharField(max_length=120, required=False)
    kinds = serializers.ListField(child=serializers.ChoiceField(SubjectKind.choices), required=False)


class CountSerializer(serializers.Serializer[Any]):
    server = serializers.IntegerField(required=False)
    grant = serializers.IntegerField(required=False)
    connection = serializers.IntegerField(required=False)
    agent = serializers.IntegerField(required=False)


class TemplateViewSet(ReadViewSet):
    """What is reviewed, how often and by whom. A campaign is one run of a template."""

    room = "reviews"
    serializer_class = TemplateSerializer
    filterset_class = TemplateFilter
    queryset = Template.objects.prefetch_related("stages__reviewers")

    @extend_schema(request=TemplateInput, responses={201: TemplateSerializer})
    def create(self, request: Request) -> Response:
        template = services.create_template(actor=self.actor, **self.parse(TemplateInput))
        return answer(template, TemplateSerializer(template).data, status.HTTP_201_CREATED)

    @extend_schema(request=TemplatePatch, responses=TemplateSerializer, parameters=[IF_MATCH])
    def partial_update(self, request: Request, pk: str | None = None) -> Response:
        template = services.update_template(
            actor=self.actor,
            template=self.get_object(),
            expected_version=expected_version(request),
            **self.parse(TemplatePatch),
        )
        return answer(template, TemplateSerializer(template).data)

    @extend_schema(summary="How many subjects are in scope now", responses=CountSerializer)
    @action(detail=True)
    def scope(self, request: Request, pk: str | None = None) -> Response:
        template = self.get_object()
        counted = population.count_in_scope(template.kinds, template.scope)
        return Response({str(name): number for name, number in counted.items()})
