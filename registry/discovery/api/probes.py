"""REST resources of probes: have a server looked at, and follow the look."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from registry.catalog.models import Endpoint, Server
from registry.core.api import ReadViewSet, SeenField, answer
from registry.core.errors import Invalid
from registry.discovery import services
from registry.discovery.filters import ProbeFilter
from registry.discovery.models import Probe

STEP_OUTCOMES = [("doing", "Doing"), ("pass", "Pass"), ("warn", "Warn"), ("fail", "Fail")]


class StepSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    said = serializers.CharField()
    outcome = serializers.ChoiceField(choices=STEP_OUTCOMES)


class ProbeSerializer(serializers.ModelSerializer[Probe]):
    endpoint = serializers.UUIDField(source="watch.endpoint_id")
    steps = StepSerializer(many=True, help_text="What was done so far, in order.")

    class Meta:
        model = Probe
        fields = [
            "id", "version", "created_at", "updated_at", "server", "endpoint", "requested_by", "state", "steps",
            "finished_at", "snapshot",
        ]  # fmt: skip
        read_only_fields = fields


class ProbeInput(serializers.Serializer[Any]):
    server = SeenField(Server)
    endpoint = serializers.UUIDField(required=False, help_text="One of its remote endpoints; by default the first one.")


@extend_schema_view(
    list=extend_schema(summary="Probes, newest first"),
    retrieve=extend_schema(summary="One probe with its steps", description="Finished, it names its snapshot."),
)
class ProbeViewSet(ReadViewSet):
    room = "discovery"
    serializer_class = ProbeSerializer
    filterset_class = ProbeFilter

    def get_queryset(self) -> QuerySet[Any]:
        found: QuerySet[Any] = Probe.objects.visible_to(self.actor).select_related("watch")
        return found

    @extend_schema(
        summary="Have a server looked at now",
        description="Answers at once; a worker looks. While one is under way, that one is answered.",
        request=ProbeInput,
        responses={202: ProbeSerializer},
    )
    def create(self, request: Request) -> Response:
        given = self.parse(ProbeInput)
        endpoint = None
        if "endpoint" in given:
            endpoint = Endpoint.objects.filter(server=given["server"], pk=given["endpoint"]).first()
            if endpoint is None:
                raise Invalid(fields={"endpoint": ["This server has no such endpoint."]})
        probe = services.request_probe(actor=self.actor, server=given["server"], endpoint=endpoint)
        return answer(probe, ProbeSerializer(probe).data, status.HTTP_202_ACCEPTED)
