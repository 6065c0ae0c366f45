"""REST resources: sign-offs, and the certificates gateways read."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils.http import parse_etags
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from registry.core import clock
from registry.core.api import ReadViewSet, answer
from registry.core.errors import NotFound
from registry.reviews import services
from registry.reviews.api.campaigns import StatementInput
from registry.reviews.api.shared import AUTH_METHOD
from registry.reviews.filters import CertificateApiFilter, SignOffFilter
from registry.reviews.gateway import Certification, certification
from registry.reviews.models import Campaign, Certificate, SignOff


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


class CertificateSerializer(serializers.ModelSerializer[Certificate]):
    subject = serializers.UUIDField(source="subject_pk", help_text="Id of the server, grant, connection or agent.")

    class Meta:
        model = Certificate
        fields = [
            "id", "created_at", "kind", "subject", "fingerprint", "certified_until", "decision", "ended_at",
            "ended_because",
        ]  # fmt: skip
        read_only_fields = fields


class CertificationSerializer(CertificateSerializer):
    """The certificate of one subject with what is true of it now."""

    certified = serializers.BooleanField(
        help_text="True: in force at this instant, and the facts are those that were certified."
    )
    because = serializers.CharField(help_text="Why it is not certified; empty when it is.", allow_blank=True)
    present_fingerprint = serializers.CharField(help_text="Of the facts as they are now.")
    fingerprint_matches = serializers.BooleanField()

    class Meta(CertificateSerializer.Meta):
        fields = [
            *CertificateSerializer.Meta.fields, "certified", "because", "present_fingerprint", "fingerprint_matches",
        ]  # fmt: skip
        read_only_fields = fields


def certification_json(found: Certification) -> dict[str, Any]:
    """In the shape of `CertificationSerializer`."""
    return {
        **CertificateSerializer(found.certificate).data,
        "certified": found.certified,
        "because": found.because,
        "present_fingerprint": found.present_fingerprint,
        "fingerprint_matches": found.fingerprint_matches,
    }


@extend_schema_view(
    retrieve=extend_schema(
        summary="Is this server, grant, connection or agent certified?",
        description="Addressed by the id of the subject: its certificate in force, else the last one with the reason "
        "why it ended. 404 when it never had one, or may not be seen. `certified` is judged at this instant on the "
        "present facts, so it is false at once when they change. The answer may be kept for `Cache-Control: max-age` "
        "seconds; then ask again with `If-None-Match`.",
        parameters=[
            OpenApiParameter("subject", UUID, OpenApiParameter.PATH),
            OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER, description="ETag of the answer you have."),
        ],
        responses={200: CertificationSerializer, 304: OpenApiResponse(description="The answer you have still holds.")},
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

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        try:
            subject = UUID(self.kwargs["subject"])
        except ValueError:
            raise NotFound from None
        found = certification(self.get_queryset(), subject, clock.now())
        if found is None:
            raise NotFound("It was never certified.")
        headers = {
            "ETag": found.etag,
            "Cache-Control": f"private, max-age={found.max_age}, must-revalidate",
            "Vary": "Authorization",
        }
        known = {tag.removeprefix("W/") for tag in parse_etags(request.headers.get("If-None-Match", ""))}
        if found.etag in known or "*" in known:
            return Response(status=status.HTTP_304_NOT_MODIFIED, headers=headers)
        return Response(certification_json(found), headers=headers)
