"""REST resources of secret sources: what is known of them, what their stores said, what people gave their word on."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from registry.catalog.models import SecretSource
from registry.core.api import ReadViewSet
from registry.core.rest import actor_of
from registry.discovery import services
from registry.discovery.filters import SecretAttestationFilter, SecretCheckFilter, SecretStateFilter
from registry.discovery.models import SecretAttestation, SecretCheck
from registry.discovery.secret_states import is_explained_to, sources_visible_to
from registry.discovery.states import SecretState


class SourceField(serializers.PrimaryKeyRelatedField[Any]):
    """A secret source in use, by id; one of a server that the actor may not see does not exist."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(queryset=SecretSource.objects.all(), **kwargs)

    def get_queryset(self) -> QuerySet[SecretSource]:
        return sources_visible_to(actor_of(self.context["request"])).select_related("server")


class SecretCheckSerializer(serializers.ModelSerializer[SecretCheck]):
    facts = serializers.DictField(read_only=True, help_text="Dates, numbers, yes and no, as the store names them.")

    class Meta:
        model = SecretCheck
        fields = [
            "id", "server", "source", "at", "by", "outcome", "detail", "rotation_enabled", "last_rotated_at",
            "last_changed_at", "last_accessed_at", "facts",
        ]  # fmt: skip
        read_only_fields = fields


class SecretAttestationSerializer(serializers.ModelSerializer[SecretAttestation]):
    class Meta:
        model = SecretAttestation
        fields = ["id", "server", "source", "at", "by", "statement", "last_rotated_on", "until"]
        read_only_fields = fields


EXPLAINED = ("verified_at", "rotated_on", "rotation_interval_days", "rotate_by", "last_check", "attestation")


class SecretStateSerializer(serializers.ModelSerializer[SecretSource]):
    state = serializers.ChoiceField(choices=SecretState.choices, read_only=True)
    rotated_on = serializers.DateField(read_only=True, allow_null=True, help_text="As declared, seen or attested.")
    rotate_by = serializers.DateField(read_only=True, allow_null=True)
    overdue = serializers.BooleanField(read_only=True)
    last_check = serializers.UUIDField(source="watch.last_id", default=None, read_only=True, allow_null=True)
    attestation = serializers.UUIDField(source="watch.attestation_id", default=None, read_only=True, allow_null=True)

    class Meta:
        model = SecretSource
        fields = [
            "id", "server", "kind", "reference", "name", "state", "verified_at", "rotated_on",
            "rotation_interval_days", "rotate_by", "overdue", "last_check", "attestation",
        ]  # fmt: skip
        read_only_fields = fields

    def to_representation(self, instance: SecretSource) -> dict[str, Any]:
        """Of a source that one does not answer for, the state alone."""
        told = super().to_representation(instance)
        if not is_explained_to(actor_of(self.context["request"]), instance):
            told |= dict.fromkeys(EXPLAINED) | {"overdue": False}
        return told


class CheckInput(serializers.Serializer[Any]):
    source = SourceField()  # type: ignore[assignment]


class AttestationInput(serializers.Serializer[Any]):
    source = SourceField()  # type: ignore[assignment]
    statement = serializers.CharField(max_length=2000)
    until = serializers.DateField(help_text="At most a year from now.")
    last_rotated_on = serializers.DateField(required=False)


class _Kept(ReadViewSet):
    room = "discovery"

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        # Append-only, or computed: there is no version, and an ETag is not needed.
        return Response(self.get_serializer(self.get_object()).data)


@extend_schema_view(
    list=extend_schema(summary="What stores said of secrets, newest first"),
    retrieve=extend_schema(summary="One answer of a store"),
)
class SecretCheckViewSet(_Kept):
    serializer_class = SecretCheckSerializer
    filterset_class = SecretCheckFilter

    def get_queryset(self) -> QuerySet[Any]:
        return SecretCheck.objects.visible_to(self.actor)

    @extend_schema(
        summary="Ask the store of a secret now",
        description="Metadata only. Within 30 seconds of the last answer, that one is given again.",
        request=CheckInput,
        responses={201: SecretCheckSerializer},
    )
    def create(self, request: Request) -> Response:
        seen = services.check_secret_source(actor=self.actor, **self.parse(CheckInput))
        return Response(SecretCheckSerializer(seen).data, status.HTTP_201_CREATED)


@extend_schema_view(
    list=extend_schema(summary="Words people gave on secret sources, newest first"),
    retrieve=extend_schema(summary="One attestation"),
)
class SecretAttestationViewSet(_Kept):
    serializer_class = SecretAttestationSerializer
    filterset_class = SecretAttestationFilter

    def get_queryset(self) -> QuerySet[Any]:
        return SecretAttestation.objects.visible_to(self.actor)

    @extend_schema(
        summary="Give one's word on a secret source",
        description="By the owner, the deputy or the operator of its server. The newest counts.",
        request=AttestationInput,
        responses={201: SecretAttestationSerializer},
    )
    def create(self, request: Request) -> Response:
        said = services.attest_secret_source(actor=self.actor, **self.parse(AttestationInput))
        return Response(SecretAttestationSerializer(said).data, status.HTTP_201_CREATED)


@extend_schema_view(
    list=extend_schema(summary="Secret sources with what is known of them now"),
    retrieve=extend_schema(summary="What is known of one secret source now"),
)
class SecretStateViewSet(_Kept):
    serializer_class = SecretStateSerializer
    filterset_class = SecretStateFilter

    def get_queryset(self) -> QuerySet[Any]:
        return sources_visible_to(self.actor).select_related("watch", "server")
