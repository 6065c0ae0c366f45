"""REST resources: what the clock does when nobody answers, and what calls for a review at once."""

from datetime import date
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.catalog.models import Agent, Server
from registry.core.api import ReadViewSet, ReasonInput, answer, expected_version
from registry.core.errors import Invalid, NotFound
from registry.core.filtering import refuse_unknown
from registry.reviews import services
from registry.reviews.api.shared import IF_MATCH
from registry.reviews.filters import ActionApiFilter, TriggerApiFilter
from registry.reviews.models import AutomaticAction, LadderStep, SubjectKind, Trigger
from registry.reviews.simulation import Simulation, foreseeable
from registry.trust.models import Connection, Grant


class AutomaticActionSerializer(serializers.ModelSerializer[AutomaticAction]):
    campaign = serializers.UUIDField(source="item.campaign_id")
    label = serializers.CharField(source="item.label")  # type: ignore[assignment]
    tier = serializers.CharField(source="item.tier")
    suspended = serializers.ListField(
        child=serializers.ListField(child=serializers.CharField()), help_text="What it suspended: [kind, id] pairs."
    )

    class Meta:
        model = AutomaticAction
        fields = [
            "id", "version", "created_at", "campaign", "item", "label", "tier", "kind", "state", "due_at", "done_at",
            "suspended", "decided_by", "decided_at", "restored_by", "restored_at", "reason",
        ]  # fmt: skip
        read_only_fields = fields


class ActionsInput(ReasonInput):
    actions = serializers.ListField(
        child=serializers.UUIDField(), min_length=1, max_length=500, help_text="Ids of held actions. All or none."
    )


class DecidedSerializer(serializers.Serializer[Any]):
    decided = serializers.IntegerField(help_text="How many actions this decided on.")


class AutomaticActionViewSet(ReadViewSet):
    """What the no-response ladder does by itself. Beyond the circuit breaker it waits (`held`) for a second person."""

    room = "reviews"
    serializer_class = AutomaticActionSerializer
    filterset_class = ActionApiFilter

    def get_queryset(self) -> QuerySet[AutomaticAction]:
        visible: QuerySet[AutomaticAction] = AutomaticAction.objects.visible_to(self.actor)
        return visible.select_related("item").defer("item__snapshot")

    def _decide(self, act: Any) -> Response:
        facts = self.parse(ActionsInput)
        wanted = set(facts["actions"])
        found = list(self.get_queryset().filter(pk__in=wanted))
        if len(found) < len(wanted):
            raise NotFound
        return Response({"decided": act(actor=self.actor, actions=found, reason=facts["reason"])})

    @extend_schema(
        summary="Let held actions go on",
        request=ActionsInput,
        responses={
            200: DecidedSerializer,
            403: OpenApiResponse(description="Not a second person, or not independent of one of the subjects."),
            409: OpenApiResponse(description="One of them no longer waits."),
        },
    )
    @action(detail=False, methods=["post"], filterset_class=None)
    def release(self, request: Request) -> Response:
        return self._decide(services.release_actions)

    @extend_schema(
        summary="Decline held actions: their items get a new deadline",
        request=ActionsInput,
        responses=DecidedSerializer,
    )
    @action(detail=False, methods=["post"], filterset_class=None)
    def decline(self, request: Request) -> Response:
        return self._decide(services.decline_actions)

    @extend_schema(
        summary="Give back what was suspended",
        request=ReasonInput,
        responses=AutomaticActionSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: str | None = None) -> Response:
        done = services.restore_action(
            actor=self.actor,
            action=self.get_object(),
            expected_version=expected_version(request),
            **self.parse(ReasonInput),
        )
        return answer(done, AutomaticActionSerializer(done).data)


# --- Simulation ------------------------------------------------------------------------------------------

DAY = OpenApiParameter(
    "day", date, description="Turn the clock to the end of this day, with today's answers. Without it: now."
)


class ForeseenSerializer(serializers.Serializer[Any]):
    item = serializers.UUIDField(source="item_id")
    label = serializers.CharField()  # type: ignore[assignment]
    tier = serializers.CharField()
    kind = serializers.ChoiceField(choices=LadderStep.Act.choices)
    at = serializers.DateTimeField()
    held = serializers.BooleanField(help_text="The circuit breaker would stop it there.")


class SimulationSerializer(serializers.Serializer[Simulation]):
    at = serializers.DateTimeField()
    suspend = serializers.IntegerField()
    lapse = serializers.IntegerField()
    revoke = serializers.IntegerField()
    held = serializers.IntegerField()
    items = ForeseenSerializer(many=True)


def asked_day(request: Request) -> date | None:
    """The day of `?day=`, None without one. Raises `Invalid` for what is no day, or one that is not foreseen."""
    refuse_unknown(request.query_params, ["day"])
    text = request.query_params.get("day", "")
    try:
        day = date.fromisoformat(text) if text else None
    except ValueError:
        raise Invalid(fields={"day": ["Give a day as 2026-12-31."]}) from None
    if day is not None and not foreseeable(day):
        raise Invalid(fields={"day": ["Give a day from today on, within half a year."]})
    return day


# --- What calls for a review -----------------------------------------------------------------------------


class TriggerSerializer(serializers.ModelSerializer[Trigger]):
    subject = serializers.UUIDField(source="subject_pk", help_text="Id of the server, grant, connection or agent.")

    class Meta:
        model = Trigger
        fields = [
            "id", "version", "created_at", "cause", "kind", "subject", "detail", "handled_at", "campaign",
            "absorbed_by",
        ]  # fmt: skip
        read_only_fields = fields


class AskInput(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=SubjectKind.choices)
    subject = serializers.UUIDField()
    reason = serializers.CharField(max_length=300)


class TriggerViewSet(ReadViewSet):
    """What called for a review now, and what became of it: a micro-certification, or an item that was open already."""

    room = "reviews"
    serializer_class = TriggerSerializer
    filterset_class = TriggerApiFilter

    def get_queryset(self) -> QuerySet[Trigger]:
        visible: QuerySet[Trigger] = Trigger.objects.visible_to(self.actor)
        return visible

    def _subject(self, kind: str, pk: UUID) -> Any:
        models = {"server": Server, "grant": Grant, "connection": Connection, "agent": Agent}
        found = models[kind].objects.visible_to(self.actor).filter(pk=pk).first()  # type: ignore[attr-defined]
        if found is None:
            raise NotFound
        return found

    @extend_schema(
        summary="Ask for a review of one thing now",
        request=AskInput,
        responses={
            201: TriggerSerializer,
            409: OpenApiResponse(description="It is under review or asked for already, or it has ended."),
        },
    )
    def create(self, request: Request) -> Response:
        facts = self.parse(AskInput)
        subject = self._subject(facts["kind"], facts.pop("subject"))
        trigger = services.ask_for_review(actor=self.actor, subject=subject, **facts)
        return answer(trigger, TriggerSerializer(trigger).data, status.HTTP_201_CREATED)
