"""REST resources: campaigns."""

from dataclasses import replace
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_field,
    extend_schema_view,
)
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounts.models import User
from registry.core import clock, limits
from registry.core.api import ReadViewSet, answer, expected_version
from registry.core.errors import Invalid
from registry.core.filtering import refuse_unknown
from registry.reviews import gate, queries, reports, services
from registry.reviews.api.ladder import DAY, SimulationSerializer, asked_day
from registry.reviews.api.shared import AUTH_METHOD, IF_MATCH
from registry.reviews.cadence import end_of_day
from registry.reviews.filters import CampaignFilter, CampaignItemFilter
from registry.reviews.models import Campaign, GapWaiver, Template
from registry.reviews.services.items import ASSIGNED_AT_ONCE
from registry.reviews.simulation import simulate


class CampaignSerializer(serializers.ModelSerializer[Campaign]):
    class Meta:
        model = Campaign
        fields = [
            "id", "version", "created_at", "updated_at", "kind", "template", "name", "period", "scope", "scope_hash",
            "population_hash", "stages", "stage", "ladder", "challenge_days", "grouping", "state", "state_reason",
            "owner", "interim_for", "instructions", "cadence_days", "risk_analysis", "due_at",
            "launched_at", "facts_checked_at", "completed_at", "processed", "total",
        ]  # fmt: skip
        read_only_fields = fields


class ProgressSerializer(serializers.Serializer[Any]):
    total = serializers.IntegerField(help_text="Items that ask, or asked, for an answer.")
    decided = serializers.IntegerField(help_text="Decided, signed or not.")
    signed = serializers.IntegerField(help_text="With an outcome.")
    by_state = serializers.DictField(child=serializers.IntegerField(), help_text="Items by state.")


class CampaignDetailSerializer(CampaignSerializer):
    progress = serializers.SerializerMethodField()
    gate = serializers.SerializerMethodField(help_text="Why a staged campaign does not start yet.")

    class Meta(CampaignSerializer.Meta):
        fields = [*CampaignSerializer.Meta.fields, "progress", "gate"]
        read_only_fields = fields

    @extend_schema_field(ProgressSerializer)
    def get_progress(self, campaign: Campaign) -> dict[str, Any]:
        found = queries.progress_of_many([campaign])[campaign.pk]
        by_state = {str(state): number for state, number in found.by_state.items()}
        return {"total": found.total, "decided": found.decided, "signed": found.signed, "by_state": by_state}

    def get_gate(self, campaign: Campaign) -> list[str]:
        return gate.gate(campaign).problems if campaign.state == "staged" else []


class LaunchInput(serializers.Serializer[Any]):
    template = serializers.PrimaryKeyRelatedField(queryset=Template.objects.all())
    period = serializers.CharField(max_length=40, required=False, help_text="Default: from the cadence, as 2026-Q4.")


class ReviewReasonInput(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=2000)


class ExtendInput(ReviewReasonInput):
    until = serializers.DateField()


class StatementInput(serializers.Serializer[Any]):
    statement = serializers.CharField(max_length=2000)


class WaiveInput(ReviewReasonInput):
    gap = serializers.ChoiceField(GapWaiver.Gap.choices)


class ReportSignatureSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    kind = serializers.CharField()
    stage = serializers.IntegerField()
    reviewer = serializers.UUIDField(source="reviewer_id")
    decision_count = serializers.IntegerField()
    decisions_root = serializers.CharField()
    at = serializers.DateTimeField()


class ReportExceptionSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    item = serializers.UUIDField(source="remediation.item_id")
    reason = serializers.CharField()
    compensating_control = serializers.CharField()
    approver = serializers.UUIDField(source="approver_id")
    expires_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class ReportCareSerializer(serializers.Serializer[Any]):
    """Percentiles in seconds, shares from 0 to 1."""

    reviewer = serializers.UUIDField(source="reviewer.pk")
    decisions = serializers.IntegerField()
    signed = serializers.IntegerField()
    p10 = serializers.FloatField()
    median = serializers.FloatField()
    p90 = serializers.FloatField()
    kept = serializers.FloatField()
    opened = serializers.FloatField()
    bulk = serializers.FloatField()
    verdict = serializers.CharField(source="verdict.verdict", default=None, allow_null=True)


class SummarySerializer(serializers.Serializer[Any]):
    """The campaign in numbers, as the report page has it. Files hold the rows."""

    campaign = serializers.SerializerMethodField()
    state = serializers.SerializerMethodField()
    population_hash = serializers.SerializerMethodField()
    taken_at = serializers.DateTimeField(source="taken.at")
    audit_batch = serializers.IntegerField(source="taken.audit_batch")
    audit_head = serializers.CharField(source="taken.audit_head")
    population = serializers.IntegerField()
    items = serializers.IntegerField()
    exclusions = serializers.IntegerField()
    ties_out = serializers.BooleanField()
    items_by_state = serializers.DictField(source="standing.progress.by_state", child=serializers.IntegerField())
    decisions = serializers.SerializerMethodField(help_text="Signed decisions: {value: {tier: count}}.")
    settled_by_people = serializers.IntegerField(source="by_people")
    settled_by_the_clock = serializers.SerializerMethodField(help_text="Without anybody's answer: {state: count}.")
    overdue = serializers.IntegerField()
    assignments = serializers.IntegerField(source="assigned")
    deciders = serializers.IntegerField()
    remediations = serializers.SerializerMethodField(help_text="{state: count}")
    exceptions = ReportExceptionSerializer(many=True)
    care = ReportCareSerializer(many=True, source="statistics", help_text="Only for those who oversee the campaign.")
    sign_offs = ReportSignatureSerializer(many=True)

    def get_campaign(self, found: reports.Summary) -> str:
        return str(self.context["campaign"].pk)

    def get_state(self, found: reports.Summary) -> str:
        return str(self.context["campaign"].state)

    def get_population_hash(self, found: reports.Summary) -> str:
        return str(self.context["campaign"].population_hash)

    @extend_schema_field(serializers.DictField(child=serializers.DictField(child=serializers.IntegerField())))
    def get_decisions(self, found: reports.Summary) -> dict[str, dict[str, int]]:
        return {value: by_tier for value, by_tier, _all in found.decided}

    @extend_schema_field(serializers.DictField(child=serializers.IntegerField()))
    def get_settled_by_the_clock(self, found: reports.Summary) -> dict[str, int]:
        return dict(found.by_system)

    @extend_schema_field(serializers.DictField(child=serializers.IntegerField()))
    def get_remediations(self, found: reports.Summary) -> dict[str, int]:
        return dict(found.remediations)


class RemindInput(serializers.Serializer[Any]):
    reviewer = serializers.PrimaryKeyRelatedField(queryset=User.objects.all())


class AssignInput(serializers.Serializer[Any]):
    to = serializers.PrimaryKeyRelatedField(queryset=User.objects.all())
    items = serializers.ListField(child=serializers.UUIDField(), max_length=ASSIGNED_AT_ONCE)
    note = serializers.CharField(max_length=2000, allow_blank=True, default="")


class NotAssignedSerializer(serializers.Serializer[Any]):
    item = serializers.UUIDField()
    reason = serializers.CharField()


class AssignedSerializer(serializers.Serializer[Any]):
    assigned = serializers.ListField(child=serializers.UUIDField(), help_text="Items that were given.")
    refused = NotAssignedSerializer(many=True, help_text="Items that this person may not have, and why.")


@extend_schema_view(retrieve=extend_schema(responses=CampaignDetailSerializer))
class CampaignViewSet(ReadViewSet):
    """One run of a template, or the intake review of one registration."""

    room = "reviews"
    serializer_class = CampaignSerializer
    filterset_class = CampaignFilter

    def get_queryset(self) -> QuerySet[Campaign]:
        return Campaign.objects.visible_to(self.actor)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self._answer(self.get_object())

    def _answer(self, campaign: Campaign, code: int = status.HTTP_200_OK) -> Response:
        return answer(campaign, CampaignDetailSerializer(campaign).data, code)

    def _act(self, service: Any, **facts: Any) -> Response:
        campaign = self.get_object()
        campaign.check_version(expected_version(self.request))
        service(actor=self.actor, campaign=campaign, **facts)
        campaign.refresh_from_db()
        return self._answer(campaign)

    @extend_schema(
        summary="Launch a campaign from a template",
        request=LaunchInput,
        responses={
            201: CampaignDetailSerializer,
            409: OpenApiResponse(
                description="The template ran for this period and scope; the detail names that campaign."
            ),
        },
    )
    def create(self, request: Request) -> Response:
        campaign = services.launch_campaign(actor=self.actor, **self.parse(LaunchInput))
        return self._answer(campaign, status.HTTP_201_CREATED)

    @extend_schema(
        summary="Open a staged campaign", request=None, responses=CampaignDetailSerializer, parameters=[IF_MATCH]
    )
    @action(detail=True, methods=["post"])
    def activate(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.activate_campaign)

    @extend_schema(
        summary="Let a staged campaign start although something is missing",
        description="Covers owners that are missing, or facts that moved, at this moment; nothing that comes later.",
        request=WaiveInput,
        responses=CampaignDetailSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def waive(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.waive_gap, **self.parse(WaiveInput))

    @extend_schema(
        summary="Compare the recorded facts with the present ones again",
        request=None,
        responses=CampaignDetailSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def recheck(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.recheck_campaign)

    @extend_schema(
        summary="Look for reviewers again", request=None, responses=CampaignDetailSerializer, parameters=[IF_MATCH]
    )
    @action(detail=True, methods=["post"], url_path="retry-assignment")
    def retry_assignment(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.retry_assignment)

    @extend_schema(
        summary="Name one reviewer for several items that lack one",
        description="Each is asked by itself whether the person may decide on it; what is refused stays as it is.",
        request=AssignInput,
        responses=AssignedSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"], url_path="assign-reviewer")
    def assign_reviewer(self, request: Request, pk: str | None = None) -> Response:
        campaign = self.get_object()
        campaign.check_version(expected_version(request))
        told = services.assign_reviewers(actor=self.actor, campaign=campaign, **self.parse(AssignInput))
        refused = [{"item": item.pk, "reason": why} for item, why in told.refused]
        given = [work_item.item_id for work_item in told.work_items]
        return Response(AssignedSerializer({"assigned": given, "refused": refused}).data)

    @extend_schema(
        summary="Go on with a launch that failed",
        request=None,
        responses=CampaignDetailSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"], url_path="retry-generation")
    def retry_generation(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.retry_generation)

    @extend_schema(
        summary="Cancel", request=ReviewReasonInput, responses=CampaignDetailSerializer, parameters=[IF_MATCH]
    )
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.cancel_campaign, **self.parse(ReviewReasonInput))

    @extend_schema(
        summary="Move the deadline", request=ExtendInput, responses=CampaignDetailSerializer, parameters=[IF_MATCH]
    )
    @action(detail=True, methods=["post"])
    def extend(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.extend_campaign, **self.parse(ExtendInput))

    @extend_schema(
        summary="Sign the whole campaign",
        request=StatementInput,
        responses=CampaignDetailSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def close(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.close_campaign, auth_method=AUTH_METHOD, **self.parse(StatementInput))

    @extend_schema(
        summary="Accept a completed campaign as an auditor",
        request=StatementInput,
        responses=CampaignDetailSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def accept(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.accept_campaign, auth_method=AUTH_METHOD, **self.parse(StatementInput))

    @extend_schema(summary="The report of a campaign", responses=SummarySerializer, filters=False)
    @action(detail=True, filterset_class=None, pagination_class=None)
    def summary(self, request: Request, pk: str | None = None) -> Response:
        campaign = self.get_object()
        found = reports.summary(campaign, self.actor)
        return Response(SummarySerializer(found, context={"campaign": campaign}).data)

    @extend_schema(
        summary="Rows of a campaign as a file, streamed",
        description="`items` with everybody who was asked and what they signed, `population` with every exclusion and "
        "its reason (`hidden` counts what you may not see), `sign-offs`, `remediations` with verifications and "
        "exceptions. JSON is one object, CSV a header, the rows, and lines that start with #: when it was taken, the "
        "population hash, the newest link of the audit chain and the number of rows. The hashes are also in the "
        "headers X-Population-Hash and X-Audit-Chain-Head.",
        parameters=[
            OpenApiParameter("what", str, OpenApiParameter.PATH, enum=reports.KINDS_OF_FILE),
            OpenApiParameter("form", str, OpenApiParameter.PATH, enum=["csv", "json"]),
        ],
        responses={(200, "text/csv"): OpenApiTypes.STR, (200, "application/json"): OpenApiTypes.OBJECT},
        filters=False,
    )
    @action(
        detail=True,
        filterset_class=None,
        pagination_class=None,
        url_path=r"(?P<what>items|population|sign-offs|remediations)\.(?P<form>csv|json)",
        url_name="file",
    )
    @limits.counts_as("export")
    def file(self, request: Request, pk: str | None = None, *, what: str, form: str) -> StreamingHttpResponse:
        campaign = self.get_object()
        if what == "population":
            reports.require_population(self.actor, campaign)
        seen = campaign.items.visible_to(self.actor)
        asked = CampaignItemFilter(request.query_params, queryset=seen, request=request)
        refuse_unknown(request.query_params, asked.filters)
        if not asked.is_valid():
            raise Invalid(fields={name: [str(each) for each in found] for name, found in asked.errors.items()})
        return reports.answer_file(what, form, campaign, self.actor, asked.qs)

    @extend_schema(
        summary="What the ladder would do if nobody answered", parameters=[DAY], responses=SimulationSerializer
    )
    @action(detail=True, methods=["get"], filterset_class=None, pagination_class=None)
    def simulation(self, request: Request, pk: str | None = None) -> Response:
        campaign, day = self.get_object(), asked_day(request)
        found = simulate(campaign, end_of_day(day) if day else clock.now())
        seen = set(campaign.items.visible_to(self.actor).values_list("pk", flat=True)) if found.items else set()
        shown = replace(found, items=[each for each in found.items if each.item_id in seen])
        return Response(SimulationSerializer(shown).data)

    @extend_schema(
        summary="Remind one reviewer by mail",
        request=RemindInput,
        responses=CampaignDetailSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def remind(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.remind_reviewer, **self.parse(RemindInput))
