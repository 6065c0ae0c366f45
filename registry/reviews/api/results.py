"""REST resources: sign-offs, remediations and certificates."""

from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from drf_spectacular.utils import (
    OpenApiParameter,
    extend_schema,
    extend_schema_view,
)
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.core.api import ReadViewSet, answer, expected_version
from registry.core.errors import NotFound
from registry.reviews import services
from registry.reviews.api.campaigns import StatementInput
from registry.reviews.api.shared import AUTH_METHOD, IF_MATCH
from registry.reviews.filters import (
    CertificateApiFilter,
    RemediationFilter,
    SignOffFilter,
)
from registry.reviews.models import (
    Campaign,
    Certificate,
    Item,
    Remediation,
    SignOff,
    Verification,
)


class SignOffSerializer(serializers.ModelSerializer[SignOff]):
    class Meta:
        model = SignOff
        fields = [
            "id", "kind", "campaign", "reviewer", "stage", "decisions_root", "decision_count", "statement",
            "auth_method", "at",
        ]  # fmt: skip
        read_only_fields = fields


class SignOffInput(StatementInput):
    campaign = serializers.UUIDField()


class SignOffViewSet(ReadViewSet):
    """Signatures: a reviewer's under their decisions, the owner's under the campaign."""

    room = "reviews"
    serializer_class = SignOffSerializer
    filterset_class = SignOffFilter

    def get_queryset(self) -> QuerySet[SignOff]:
        return SignOff.objects.filter(campaign__in=Campaign.objects.visible_to(self.actor))

    @extend_schema(
        summary="Sign all of one's drafts in a campaign", request=SignOffInput, responses={201: SignOffSerializer}
    )
    def create(self, request: Request) -> Response:
        facts = self.parse(SignOffInput)
        campaign = Campaign.objects.visible_to(self.actor).filter(pk=facts.pop("campaign")).first()
        if campaign is None:
            raise NotFound
        signature = services.sign_off(actor=self.actor, campaign=campaign, auth_method=AUTH_METHOD, **facts)
        return answer(signature, SignOffSerializer(signature).data, status.HTTP_201_CREATED)


class VerificationSerializer(serializers.ModelSerializer[Verification]):
    class Meta:
        model = Verification
        fields = ["source", "confirmed", "observed_at", "proof", "by"]
        read_only_fields = fields


class RemediationSerializer(serializers.ModelSerializer[Remediation]):
    campaign = serializers.UUIDField(source="item.campaign_id")
    verifications = VerificationSerializer(many=True)

    class Meta:
        model = Remediation
        fields = [
            "id", "version", "item", "campaign", "decision", "kind", "state", "channel", "channel_reference",
            "attempts", "reported_at", "verified_at", "verifications",
        ]  # fmt: skip
        read_only_fields = fields


class ConfirmInput(serializers.Serializer[Any]):
    proof = serializers.CharField(max_length=2000, help_text="What you looked at and what you saw.")
    effective = serializers.BooleanField(default=True, help_text="False: the access still works.")


class RemediationViewSet(ReadViewSet):
    """What signed decisions took away, until somebody independent has seen that it is gone."""

    room = "reviews"
    serializer_class = RemediationSerializer
    filterset_class = RemediationFilter

    def get_queryset(self) -> QuerySet[Remediation]:
        return (
            Remediation.objects.filter(item__in=Item.objects.visible_to(self.actor))
            .select_related("item")
            .defer("item__snapshot")
            .prefetch_related("verifications")
        )

    @extend_schema(
        summary="Record whether it took effect",
        request=ConfirmInput,
        responses=RemediationSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def confirm(self, request: Request, pk: str | None = None) -> Response:
        done = services.confirm_remediation(
            actor=self.actor,
            remediation=self.get_object(),
            expected_version=expected_version(request),
            **self.parse(ConfirmInput),
        )
        return answer(done, RemediationSerializer(done).data)


class CertificateSerializer(serializers.ModelSerializer[Certificate]):
    subject = serializers.UUIDField(source="subject_pk", help_text="Id of the server, grant or connection.")

    class Meta:
        model = Certificate
        fields = [
            "id", "created_at", "kind", "subject", "fingerprint", "certified_until", "decision", "ended_at",
            "ended_because",
        ]  # fmt: skip
        read_only_fields = fields


@extend_schema_view(
    retrieve=extend_schema(
        summary="The certificate in force of a server, grant or connection",
        description="Addressed by the id of the subject. 404 when it is not certified, or may not be seen.",
        parameters=[OpenApiParameter("subject", UUID, OpenApiParameter.PATH)],
    )
)
class CertificateViewSet(ReadViewSet):
    """What signed reviews allow, until when, and for exactly which facts. The one thing gateways have to read."""

    room = "reviews"
    serializer_class = CertificateSerializer
    filterset_class = CertificateApiFilter
    lookup_url_kwarg = "subject"
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[Certificate]:
        return Certificate.objects.visible_to(self.actor)

    def get_object(self) -> Certificate:
        try:
            subject = UUID(self.kwargs["subject"])
        except ValueError:
            raise NotFound from None
        about = Q(server=subject) | Q(grant=subject) | Q(connection=subject)
        found = self.get_queryset().filter(about, ended_at=None).first()
        if found is None:
            raise NotFound("It is not certified.")
        return found
