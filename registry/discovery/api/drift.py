"""REST resources of drift: what differs from what was approved, and the approval of what is listed now."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.catalog.api import IF_MATCH
from registry.core.api import ReadViewSet, answer, expected_version
from registry.core.errors import VersionRequired
from registry.core.independence import require_decider
from registry.discovery import services
from registry.discovery.api.snapshots import SignSerializer
from registry.discovery.filters import DriftFilter
from registry.discovery.models import Drift, Watch


class FieldChangeSerializer(serializers.Serializer[Any]):
    pointer = serializers.CharField(help_text="JSON pointer that names tools instead of numbering them.")
    before = serializers.JSONField(required=False, help_text="Missing where there was nothing.")
    after = serializers.JSONField(required=False, help_text="Missing where there is nothing now.")


class DefinitionDifferenceSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField(help_text="added, removed, renamed, changed, instructions, prompt, resource_template")
    tool = serializers.CharField(allow_blank=True)
    sentence = serializers.CharField()
    rule = serializers.CharField(help_text="Its row in the table of severities (docs/discovery.md).")
    severity = serializers.ChoiceField(choices=Drift.Severity.choices)
    fields_ = FieldChangeSerializer(many=True)

    def get_fields(self) -> dict[str, Any]:
        """`fields` is also the name of an attribute of every serializer."""
        fields = super().get_fields()
        fields["fields"] = fields.pop("fields_")
        return fields


class DriftSerializer(serializers.ModelSerializer[Drift]):
    before = serializers.CharField(source="before_id", help_text="Digest of the approved definitions.")
    after = serializers.CharField(source="after_id", help_text="Digest of what is listed now.")
    differences = DefinitionDifferenceSerializer(many=True, help_text="Worst first.")
    signs = SignSerializer(many=True, source="snapshot.signs", help_text="Found in what is listed now, worst first.")
    seen_by = serializers.SerializerMethodField()

    class Meta:
        model = Drift
        fields = [
            "id", "version", "created_at", "updated_at", "server", "watch", "seen_by", "snapshot", "before", "after",
            "severity", "state", "flickers", "differences", "signs", "settled_at", "settled_by", "reason",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(choices=[each.name.lower() for each in Watch.Strength]))
    def get_seen_by(self, drift: Drift) -> str:
        """own: this registry's probe. witness, claim: pushed by somebody independent, or who answers for the server."""
        return drift.watch.strength.name.lower()


class ApprovalInput(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=2000)
    after = serializers.RegexField(r"^[0-9a-f]{64}$", help_text="`after` of the drift as you saw it.")


@extend_schema_view(
    list=extend_schema(summary="Drift, newest first"),
    retrieve=extend_schema(summary="One drift with every difference"),
)
class DriftViewSet(ReadViewSet):
    room = "discovery"
    serializer_class = DriftSerializer
    filterset_class = DriftFilter

    def get_queryset(self) -> QuerySet[Any]:
        return Drift.objects.visible_to(self.actor).select_related("watch__server", "snapshot")

    @extend_schema(
        summary="Approve the new definitions",
        description="For an independent reviewer or security. Only a review certifies the server again.",
        parameters=[IF_MATCH],
        request=ApprovalInput,
        responses=DriftSerializer,
    )
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str | None = None) -> Response:
        drift = self.get_object()
        require_decider(self.actor, "discovery.approve_drift", drift.server)
        seen = expected_version(request)
        if seen is None or seen == "*":
            raise VersionRequired("Send If-Match with the ETag of the drift you decided on.")
        given = self.parse(ApprovalInput)
        drift = services.approve_drift(
            actor=self.actor,
            drift=drift,
            reason=given["reason"],
            seen_digest=given["after"],
            expected_version=seen,
        )
        return answer(drift, DriftSerializer(drift).data)
