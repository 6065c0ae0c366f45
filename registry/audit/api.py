"""The audit trail as a REST resource, read only."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from registry.audit.filters import EventFilter
from registry.audit.models import Event, Seal
from registry.audit.queries import events_visible_to
from registry.core.api import ReadViewSet


class SealSerializer(serializers.ModelSerializer[Seal]):
    batch = serializers.IntegerField(source="batch_id")

    class Meta:
        model = Seal
        fields = ["position", "batch", "digest"]


class EventSerializer(serializers.ModelSerializer[Event]):
    """`seal` is null until the event is in the chain, which takes seconds."""

    seal = SealSerializer(allow_null=True, read_only=True, default=None)
    data = serializers.DictField(read_only=True)  # type: ignore[assignment]

    class Meta:
        model = Event
        fields = [
            "id", "at", "actor_kind", "actor_id", "actor_label", "token_id", "act", "subject_type", "subject_id",
            "subject_label", "request_id", "data", "seal",
        ]  # fmt: skip
        read_only_fields = fields


@extend_schema_view(
    list=extend_schema(summary="What was done by whom, newest first", tags=["audit"]),
    retrieve=extend_schema(summary="One event", tags=["audit"]),
)
class EventViewSet(ReadViewSet):
    """Auditors, security and administrators read everything; everybody else reads what they themselves did."""

    room = "audit"
    queryset = Event.objects.none()
    serializer_class = EventSerializer
    filterset_class = EventFilter

    def get_queryset(self) -> QuerySet[Event]:
        return events_visible_to(self.actor).select_related("seal")

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        # Evidence has no versions, so no ETag to work on.
        return Response(self.get_serializer(self.get_object()).data)


routes = [("audit/events", EventViewSet, "event")]
