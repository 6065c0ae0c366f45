"""Visibility rules over REST: what teams and environments keep confidential, and what that would change."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounts.models import Team
from registry.catalog import services
from registry.catalog.filters import VisibilityRuleFilter
from registry.catalog.models import Environment, VisibilityRule
from registry.catalog.queries import kept_by, preview_of
from registry.core.api import ReadViewSet, ReasonInput, answer, expected_version
from registry.core.errors import Invalid
from registry.core.permissions import require

GOVERNED_KINDS = ("server", "system", "agent")
_stamps = ["id", "version", "created_at", "updated_at"]


class KeptConfidentialSerializer(serializers.Serializer[Any]):
    """How many things are confidential because of a rule."""

    server = serializers.IntegerField()
    system = serializers.IntegerField()
    agent = serializers.IntegerField()


class VisibilityRuleSerializer(serializers.ModelSerializer[VisibilityRule]):
    keeps = serializers.SerializerMethodField()

    class Meta:
        model = VisibilityRule
        fields = [
            *_stamps, "team", "environment", "reason", "created_by", "dropped_at", "dropped_by", "drop_reason", "keeps",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(KeptConfidentialSerializer)
    def get_keeps(self, rule: VisibilityRule) -> Any:
        """Counted once for all rows of a page."""
        root: Any = self.root
        if not hasattr(root, "kept"):
            rows: list[Any] = [root.instance] if root is self else root.instance
            rules = [row for row in rows if row.dropped_at is None]
            root.kept = kept_by(rules) if rules else {}
        return root.kept.get(rule.pk, {"server": 0, "system": 0, "agent": 0})


class VisibilityRuleInput(serializers.Serializer[Any]):
    """Either a team or an environment."""

    team = serializers.PrimaryKeyRelatedField(queryset=Team.objects.all(), required=False, allow_null=True)
    environment = serializers.ChoiceField(Environment.choices, required=False, allow_blank=True)
    reason = serializers.CharField(max_length=2000)


class VisibilityPreviewInput(serializers.Serializer[Any]):
    team = serializers.PrimaryKeyRelatedField(queryset=Team.objects.all(), required=False)
    environment = serializers.ChoiceField(Environment.choices, required=False)


class VisibilityPreviewSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(GOVERNED_KINDS)
    covered = serializers.IntegerField(help_text="Everything of the team, or in the environment.")
    moving = serializers.IntegerField(help_text="Hidden from others by setting the rule, or shown by dropping it.")
    staying = serializers.IntegerField(help_text="As confidential, or as open, as it was.")


@extend_schema_view(
    list=extend_schema(summary="Rules that keep things confidential", tags=["catalog"]),
    retrieve=extend_schema(summary="One visibility rule", tags=["catalog"]),
)
class VisibilityRuleViewSet(ReadViewSet):
    """Everything of a team, or in an environment, is confidential while a rule says so."""

    room = "catalog"
    queryset = VisibilityRule.objects.none()
    serializer_class = VisibilityRuleSerializer
    filterset_class = VisibilityRuleFilter

    def get_queryset(self) -> QuerySet[VisibilityRule]:
        require(self.actor, "catalog.view_visibility_rules")
        return VisibilityRule.objects.visible_to(self.actor)

    def _answer(self, rule: VisibilityRule, code: int = 200) -> Response:
        return answer(rule, self.get_serializer(rule).data, code)

    @extend_schema(
        summary="Keep everything of a team, or in an environment, confidential",
        tags=["catalog"],
        request=VisibilityRuleInput,
        responses={201: VisibilityRuleSerializer},
    )
    def create(self, request: Request) -> Response:
        done = services.set_visibility_rule(actor=self.actor, **self.parse(VisibilityRuleInput))
        return self._answer(done.rule, status.HTTP_201_CREATED)

    @extend_schema(
        summary="Drop a rule: what only it kept confidential is seen by every member again",
        tags=["catalog"],
        request=ReasonInput,
        responses={200: VisibilityRuleSerializer},
    )
    @action(detail=True, methods=["post"])
    def drop(self, request: Request, pk: str) -> Response:
        done = services.drop_visibility_rule(
            actor=self.actor,
            rule=self.get_object(),
            expected_version=expected_version(request),
            **self.parse(ReasonInput),
        )
        return self._answer(done.rule)

    @extend_schema(
        summary="What a rule would hide, before it is set",
        tags=["catalog"],
        parameters=[
            OpenApiParameter("team", str, description="Id of a team. Either this or an environment."),
            OpenApiParameter("environment", str, enum=Environment.values),
        ],
        responses={200: VisibilityPreviewSerializer(many=True)},
        filters=False,
    )
    @action(detail=False, methods=["get"], pagination_class=None, filterset_class=None)
    def preview(self, request: Request) -> Response:
        require(self.actor, "catalog.set_visibility_rule")
        asked = VisibilityPreviewInput(data=request.query_params)
        asked.is_valid(raise_exception=True)
        if len(asked.validated_data) != 1:
            raise Invalid(fields={"team": ["Choose either a team or an environment."]})
        return Response(VisibilityPreviewSerializer(preview_of(VisibilityRule(**asked.validated_data)), many=True).data)

    @extend_schema(
        summary="What dropping a rule would show to every member",
        tags=["catalog"],
        responses={200: VisibilityPreviewSerializer(many=True)},
        filters=False,
    )
    @action(detail=True, methods=["get"], url_path="drop-preview", pagination_class=None, filterset_class=None)
    def drop_preview(self, request: Request, pk: str) -> Response:
        return Response(VisibilityPreviewSerializer(preview_of(self.get_object()), many=True).data)


routes: list[Any] = [("visibility-rules", VisibilityRuleViewSet, "visibility-rule")]
