"""The audit trail as REST resources, read only, with the proofs that nothing in it was changed."""

from dataclasses import asdict
from typing import Any

from django.db.models import QuerySet
from django.urls import path
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from registry.audit.filters import EventFilter
from registry.audit.models import Checkpoint, Event, Seal
from registry.audit.queries import consistency_proof, events_visible_to, inclusion_proof, log_keys
from registry.audit.services import record_access
from registry.core.api import ReadViewSet
from registry.core.errors import Invalid, Malformed
from registry.core.filtering import refuse_unknown
from registry.core.pagination import KeysetPagination
from registry.core.permissions import allows

MOST_DIGITS = 15


class SealSerializer(serializers.ModelSerializer[Seal]):
    batch = serializers.IntegerField(source="batch_id")

    class Meta:
        model = Seal
        fields = ["position", "batch", "leaf_hash"]


class EventSerializer(serializers.ModelSerializer[Event]):
    """`seal` is null until the event is in the log, which takes seconds."""

    seal = SealSerializer(allow_null=True, read_only=True, default=None)
    data = serializers.DictField(read_only=True)  # type: ignore[assignment]

    class Meta:
        model = Event
        fields = [
            "id", "at", "actor_kind", "actor_id", "actor_label", "token_id", "act", "subject_type", "subject_id",
            "subject_label", "request_id", "data", "seal",
        ]  # fmt: skip
        read_only_fields = fields


class ProofSerializer(serializers.Serializer[Any]):
    """Hashes are hexadecimal SHA-256. `checkpoint` is the signed note over this tree, empty until it is signed."""

    tree_size = serializers.IntegerField()
    root_hash = serializers.CharField()
    hashes = serializers.ListField(child=serializers.CharField())
    checkpoint = serializers.CharField()


class InclusionProofSerializer(ProofSerializer):
    """RFC 9162, 2.1.3: `hashes` lead from SHA-256(0x00 || RFC 8785 form of `content`) at `leaf_index` to the root."""

    leaf_index = serializers.IntegerField()
    leaf_hash = serializers.CharField()
    content = serializers.DictField()


class ConsistencyProofSerializer(ProofSerializer):
    """RFC 9162, 2.1.4: the log of `tree_size` entries begins with that of `first`."""

    first = serializers.IntegerField()
    first_root_hash = serializers.CharField()


class CheckpointSerializer(serializers.ModelSerializer[Checkpoint]):
    """`note` is a C2SP signed note: origin, tree size, root in Base64 and time, then the signature of `key`."""

    key = serializers.CharField(source="key_id")

    class Meta:
        model = Checkpoint
        fields = ["id", "tree_size", "root_hash", "signed_at", "key", "note"]
        read_only_fields = fields


class NewestSigned(KeysetPagination):
    """In order of signing: ids follow the clock, and a clock can be set back."""

    ordering = "-number"

    def decode_cursor(self, request: Any) -> Any:
        cursor = super().decode_cursor(request)
        position = cursor.position if cursor is not None else None
        if position is not None and not (position.isascii() and position.isdigit()):
            raise Malformed("This cursor is none of ours; start again from the first page.")
        return cursor


class KeySerializer(serializers.Serializer[Any]):
    """`key` is name+id+Base64, as signed notes want it. The key that signs has no `valid_until`."""

    id = serializers.CharField(source="key_id")
    key = serializers.CharField()
    valid_from = serializers.DateTimeField()
    valid_until = serializers.DateTimeField(allow_null=True)


class KeysSerializer(serializers.Serializer[Any]):
    results = KeySerializer(many=True)


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

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        answer = super().list(request, *args, **kwargs)
        self._note_look()
        return answer

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        # Evidence has no versions, so no ETag to work on.
        found = self.get_object()
        self._note_look()
        return Response(self.get_serializer(found).data)

    def _note_look(self) -> None:
        if allows(self.actor, "audit.view_all"):
            record_access(actor=self.actor, act="audit.viewed", subject="audit trail", data={"form": "rest"})

    @extend_schema(
        summary="Proof that an event is in the log", tags=["audit"], responses=InclusionProofSerializer, filters=False
    )
    @action(detail=True)
    def proof(self, request: Request, pk: str) -> Response:
        """409 until the event is sealed."""
        return Response(InclusionProofSerializer(asdict(inclusion_proof(self.get_object()))).data)


@extend_schema_view(
    list=extend_schema(summary="Signed states of the log, newest first", tags=["audit"]),
    retrieve=extend_schema(summary="One signed state of the log", tags=["audit"]),
)
class CheckpointViewSet(ReadViewSet):
    room = "audit"
    pagination_class = NewestSigned
    queryset = Checkpoint.objects.all()
    serializer_class = CheckpointSerializer

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(self.get_serializer(self.get_object()).data)


class KeysView(APIView):
    room = "audit"

    @extend_schema(summary="Public keys that verify checkpoints", tags=["audit"], responses=KeysSerializer)
    def get(self, request: Request) -> Response:
        refuse_unknown(request.query_params, ())
        return Response({"results": KeySerializer(log_keys(), many=True).data})


_SIZE = {"type": "integer", "minimum": 0}


class ConsistencyView(APIView):
    room = "audit"

    @extend_schema(
        summary="Proof that the log only grew from one size to another",
        tags=["audit"],
        parameters=[
            OpenApiParameter("first", _SIZE, required=True, description="The smaller tree size."),
            OpenApiParameter("second", _SIZE, description="The larger tree size; the present one if left out."),
        ],
        responses=ConsistencyProofSerializer,
    )
    def get(self, request: Request) -> Response:
        given = request.query_params
        refuse_unknown(given, ("first", "second"))
        proof = consistency_proof(_size(given, "first"), _size(given, "second") if "second" in given else None)
        return Response(ConsistencyProofSerializer(asdict(proof)).data)


def _size(given: Any, name: str) -> int:
    text = given.get(name, "")
    if not (text.isascii() and text.isdigit()) or len(text) > MOST_DIGITS:
        raise Invalid(fields={name: ["Give a tree size, a number from 0 upwards."]})
    return int(text)


routes = [("audit/events", EventViewSet, "event"), ("audit/checkpoints", CheckpointViewSet, "audit-checkpoint")]
paths = [
    path("audit/keys", KeysView.as_view(), name="audit-keys"),
    path("audit/consistency", ConsistencyView.as_view(), name="audit-consistency"),
]
