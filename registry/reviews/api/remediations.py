"""REST resources: remediations with their acts, objections to them, and exceptions from them."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.core.api import ReadViewSet, ReasonInput, answer, expected_version
from registry.reviews import services
from registry.reviews.api.shared import IF_MATCH
from registry.reviews.filters import ChallengeFilter, ExceptionApiFilter, RemediationApiFilter
from registry.reviews.models import Challenge, ExceptionRecord, Remediation, Verification


class VerificationSerializer(serializers.ModelSerializer[Verification]):
    class Meta:
        model = Verification
        fields = ["source", "confirmed", "observed_at", "proof", "by"]
        read_only_fields = fields


class RemediationSerializer(serializers.ModelSerializer[Remediation]):
    campaign = serializers.UUIDField(source="item.campaign_id")
    subject_kind = serializers.CharField(source="item.kind", help_text="server, grant, connection or agent.")
    subject = serializers.UUIDField(source="item.subject_pk", help_text="What it was decided on.")
    kept = serializers.ListField(child=serializers.CharField(), help_text="What a reduction keeps.")
    verifications = VerificationSerializer(many=True)

    class Meta:
        model = Remediation
        fields = [
            "id", "version", "created_at", "item", "campaign", "subject_kind", "subject", "decision", "kind", "state",
            "reason", "kept", "remains", "challenge_until", "channel", "channel_reference", "instruction", "round",
            "attempts", "failure", "dispatched_at", "reported_at", "verify_by", "verified_at", "verifications",
        ]  # fmt: skip
        read_only_fields = fields


class ConfirmInput(serializers.Serializer[Any]):
    proof = serializers.CharField(max_length=2000, help_text="What you looked at and what you saw.")
    effective = serializers.BooleanField(help_text="Whether the access is gone; false: it still works.")


class ReportInput(serializers.Serializer[Any]):
    reference = serializers.CharField(max_length=300, help_text="Ticket or change by which it can be found.")


class ObserveInput(serializers.Serializer[Any]):
    source = serializers.ChoiceField(  # type: ignore[assignment]
        [Verification.Source.DISCOVERY, Verification.Source.ACTIVITY]
    )
    confirmed = serializers.BooleanField(help_text="True: the access is gone. False: it still works.")
    observed_at = serializers.DateTimeField(help_text="When it was seen; before the act it says nothing.")
    proof = serializers.CharField(max_length=2000, help_text="What was seen, or where it can be found.")


class RetryInput(serializers.Serializer[Any]):
    channel = serializers.CharField(
        max_length=20, default="", allow_blank=True, help_text="Another way from now on; empty: the same."
    )
    instruction = serializers.CharField(
        max_length=2000, default="", allow_blank=True, help_text="What somebody outside has to do."
    )


class ExceptionInput(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=2000)
    compensating_control = serializers.CharField(max_length=2000, help_text="What limits the risk meanwhile.")
    expires_at = serializers.DateTimeField(help_text="The tier says how long at most.")


class ChallengeSerializer(serializers.ModelSerializer[Challenge]):
    class Meta:
        model = Challenge
        fields = [
            "id", "version", "created_at", "remediation", "by", "reason", "upheld", "decided_by", "decided_at",
            "answer",
        ]  # fmt: skip
        read_only_fields = fields


class ExceptionSerializer(serializers.ModelSerializer[ExceptionRecord]):
    state = serializers.ChoiceField(["requested", "active", "refused", "withdrawn", "closed"])

    class Meta:
        model = ExceptionRecord
        fields = [
            "id", "version", "created_at", "remediation", "state", "reason", "compensating_control", "requested_by",
            "approver", "approved_at", "refused_because", "expires_at", "ended_at", "ended_because",
        ]  # fmt: skip
        read_only_fields = fields


class RemediationViewSet(ReadViewSet):
    """What signed decisions, or the clock, took away, until somebody independent has seen that it is gone."""

    room = "reviews"
    serializer_class = RemediationSerializer
    filterset_class = RemediationApiFilter

    def get_queryset(self) -> QuerySet[Remediation]:
        return (
            Remediation.objects.visible_to(self.actor)
            .select_related("item")
            .defer("item__snapshot")
            .prefetch_related("verifications")
        )

    def _act(self, service: Any, input_serializer: type[serializers.Serializer[Any]]) -> Response:
        done = service(
            actor=self.actor,
            remediation=self.get_object(),
            expected_version=expected_version(self.request),
            **self.parse(input_serializer),
        )
        return answer(done, RemediationSerializer(done).data)

    @extend_schema(
        summary="Say whether it took effect (independent)",
        request=ConfirmInput,
        responses=RemediationSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def confirm(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.confirm_remediation, ConfirmInput)

    @extend_schema(
        summary="Report it done, which proves nothing yet",
        request=ReportInput,
        responses=RemediationSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def report(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.report_done, ReportInput)

    @extend_schema(
        summary="Carry it out again, or another way",
        request=RetryInput,
        responses=RemediationSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.retry_remediation, RetryInput)

    @extend_schema(
        summary="Record what discovery or an activity log has seen",
        request=ObserveInput,
        responses={201: VerificationSerializer},
    )
    @action(detail=True, methods=["post"])
    def observe(self, request: Request, pk: str | None = None) -> Response:
        seen = services.record_observation(actor=self.actor, remediation=self.get_object(), **self.parse(ObserveInput))
        return Response(VerificationSerializer(seen[0]).data, status.HTTP_201_CREATED)

    @extend_schema(
        summary="Object before it is carried out",
        request=ReasonInput,
        responses={201: ChallengeSerializer},
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def challenge(self, request: Request, pk: str | None = None) -> Response:
        made = services.challenge_remediation(
            actor=self.actor,
            remediation=self.get_object(),
            expected_version=expected_version(request),
            **self.parse(ReasonInput),
        )
        return answer(made, ChallengeSerializer(made).data, status.HTTP_201_CREATED)

    @extend_schema(
        summary="Ask for an exception",
        request=ExceptionInput,
        responses={201: ExceptionSerializer},
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def exception(self, request: Request, pk: str | None = None) -> Response:
        made = services.request_exception(
            actor=self.actor,
            remediation=self.get_object(),
            expected_version=expected_version(request),
            **self.parse(ExceptionInput),
        )
        return answer(made, ExceptionSerializer(made).data, status.HTTP_201_CREATED)


class AnswerInput(serializers.Serializer[Any]):
    upheld = serializers.BooleanField(help_text="True: withdraw it and review the subject again. False: carry it out.")
    answer = serializers.CharField(max_length=2000)


class ChallengeViewSet(ReadViewSet):
    """Objections of the people concerned, before something is taken away."""

    room = "reviews"
    serializer_class = ChallengeSerializer
    filterset_class = ChallengeFilter

    def get_queryset(self) -> QuerySet[Challenge]:
        return Challenge.objects.visible_to(self.actor)

    @extend_schema(
        summary="Decide on an objection (independent)",
        request=AnswerInput,
        responses=ChallengeSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def decide(self, request: Request, pk: str | None = None) -> Response:
        done = services.decide_challenge(
            actor=self.actor,
            challenge=self.get_object(),
            expected_version=expected_version(request),
            **self.parse(AnswerInput),
        )
        return answer(done, ChallengeSerializer(done).data)


class ExceptionViewSet(ReadViewSet):
    """Access that should be gone and may stay for a time."""

    room = "reviews"
    serializer_class = ExceptionSerializer
    filterset_class = ExceptionApiFilter

    def get_queryset(self) -> QuerySet[ExceptionRecord]:
        return ExceptionRecord.objects.visible_to(self.actor)

    def _act(self, service: Any, **facts: Any) -> Response:
        done = service(
            actor=self.actor, exception=self.get_object(), expected_version=expected_version(self.request), **facts
        )
        return answer(done, ExceptionSerializer(done).data)

    @extend_schema(
        summary="Approve an exception (independent)",
        request=None,
        responses={200: ExceptionSerializer, 409: OpenApiResponse(description="It was decided already.")},
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.approve_exception)

    @extend_schema(
        summary="Refuse an exception (independent)",
        request=ReasonInput,
        responses=ExceptionSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def refuse(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.refuse_exception, **self.parse(ReasonInput))

    @extend_schema(
        summary="End an exception before its time",
        request=ReasonInput,
        responses=ExceptionSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def end(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.end_exception, **self.parse(ReasonInput))
