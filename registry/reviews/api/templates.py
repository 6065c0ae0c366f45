"""REST resources: campaign templates."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
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
from registry.reviews.preview import preview


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "description": "Filters as on the list pages, those that every chosen kind has; what is absent does not "
        "restrict. lifecycle, status and standing say which servers, relationships and agents are in scope: those "
        "that are active, when absent.",
        "example": {"tier": ["critical", "high"], "environment": ["production"]},
    }
)
class ScopeField(serializers.DictField):
    child = serializers.JSONField()


class StageSerializer(serializers.ModelSerializer[TemplateStage]):
    class Meta:
        model = TemplateStage
        fields = [
            "position", "name", "reviewer_rule", "fallback", "group", "reviewers", "reviewers_per_item", "strategy",
            "duration_days",
        ]  # fmt: skip
        read_only_fields = fields


class StageInput(serializers.Serializer[Any]):
    """One round of reviewers. Nobody decides on the same item in two of them.

    What is wrong with the first is told under `/stages/1/…`: stages are counted as people count them.
    """

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
    scope = ScopeField(read_only=True)
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
    scope = ScopeField(required=False)
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


class ShareSerializer(serializers.Serializer[Any]):
    reviewer = serializers.UUIDField(source="reviewer.pk")
    items = serializers.IntegerField(help_text="What they would get.")
    already = serializers.IntegerField(help_text="What they have to decide already.")
    barred = serializers.IntegerField(help_text="What they may not decide on.")
    busy = serializers.BooleanField(help_text="More than one can review with care in a week.")


class PreviewSerializer(serializers.Serializer[Any]):
    """What a launch at this moment would do."""

    counts = CountSerializer()
    total = serializers.IntegerField()
    items = serializers.IntegerField(help_text="In scope and not under review elsewhere.")
    elsewhere = serializers.IntegerField()
    tried = serializers.IntegerField(help_text="Subjects the assignment was tried out on.")
    shares = ShareSerializer(many=True)
    without_count = serializers.IntegerField(help_text="Would wait at the launch gate for an independent reviewer.")
    without = serializers.ListField(child=serializers.CharField(), help_text="The first of them that you may see.")
    ownerless_count = serializers.IntegerField(help_text="Servers and agents in scope without an active owner.")


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

    @extend_schema(summary="What a launch would do now", responses=PreviewSerializer, filters=False)
    @action(detail=True, filterset_class=None, pagination_class=None)
    def preview(self, request: Request, pk: str | None = None) -> Response:
        return Response(PreviewSerializer(preview(self.get_object(), self.actor)).data)

    @extend_schema(summary="How many subjects are in scope now", responses=CountSerializer)
    @action(detail=True)
    def scope(self, request: Request, pk: str | None = None) -> Response:
        template = self.get_object()
        counted = population.count_in_scope(template.kinds, template.scope, due_before=population.due_before(template))
        return Response({str(name): number for name, number in counted.items()})
