"""REST resources: certification items."""

from datetime import datetime
from typing import Any

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import (
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
from registry.core.api import ReadViewSet, expected_version
from registry.core.errors import Invalid, NotFound
from registry.core.independence import bars
from registry.core.rest import actor_of
from registry.reviews import desk, services
from registry.reviews.api.campaigns import ReviewReasonInput
from registry.reviews.api.shared import AUTH_METHOD, IF_MATCH, IF_MATCH_REQUIRED, required_version
from registry.reviews.comparison import changes, three_way
from registry.reviews.facts import evidence_of, reducible
from registry.reviews.filters import (
    ItemFilter,
)
from registry.reviews.models import (
    Decision,
    Item,
    WorkItem,
)
from registry.reviews.recommendation import may_show, recommend
from registry.reviews.services.decisions import latest_day
from registry.reviews.services.items import review_version
from registry.reviews.states import OPEN_ITEM, ItemState, WorkItemState


class HolderSerializer(serializers.ModelSerializer[WorkItem]):
    """In whose hands an item is."""

    class Meta:
        model = WorkItem
        fields = ["id", "reviewer", "original_reviewer", "stage", "side", "state", "chosen_because"]
        read_only_fields = fields


class ItemSerializer(serializers.ModelSerializer[Item]):
    subject = serializers.UUIDField(source="subject_pk", help_text="Id of the server, grant, connection or agent.")
    work_items = HolderSerializer(many=True)

    class Meta:
        model = Item
        fields = [
            "id", "version", "created_at", "updated_at", "campaign", "kind", "subject", "rests_on", "label", "tier",
            "stage", "due_at", "state", "outcome", "fingerprint", "evidence_hash", "work_items",
        ]  # fmt: skip
        read_only_fields = fields


SIGNS = [("add", "added"), ("mod", "changed"), ("rem", "removed")]


class ChangeSerializer(serializers.Serializer[Any]):
    sign = serializers.ChoiceField(SIGNS)
    kind = serializers.CharField()
    what = serializers.CharField()
    detail = serializers.CharField()


class CellSerializer(serializers.Serializer[Any]):
    """One fact at one instant."""

    value = serializers.CharField()
    mark = serializers.CharField(help_text="Tells two definitions of the same name apart; empty where there is none.")
    note = serializers.CharField(help_text="What it is said to do.")


class ComparisonSerializer(serializers.Serializer[Any]):
    """One material fact three times. A cell is null where there was no such thing, or where that state is not known:
    `then` of what was never certified, `now` of a review that is over."""

    section = serializers.CharField()
    kind = serializers.CharField()
    what = serializers.CharField()
    then = CellSerializer(allow_null=True, help_text="As it was certified last.")
    launch = CellSerializer(allow_null=True, help_text="As it is decided on: recorded at launch, or confirmed since.")
    now = CellSerializer(allow_null=True)
    since_certified = serializers.ChoiceField(SIGNS, allow_blank=True, help_text="From `then` to `launch`.")
    since_launch = serializers.ChoiceField(SIGNS, allow_blank=True, help_text="From `launch` to `now`.")


class SeenSerializer(serializers.Serializer[Any]):
    """The evidence a decision is about: post `evidence_hash` with it."""

    fingerprint = serializers.CharField()
    evidence_hash = serializers.CharField()
    snapshot = serializers.JSONField(source="evidence")


class OwnDecisionSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    value = serializers.ChoiceField(Decision.Value.choices)
    kept = serializers.ListField(child=serializers.CharField())
    until = serializers.DateField(allow_null=True)
    reason = serializers.CharField()
    signed_at = serializers.DateTimeField(allow_null=True)


class RecommendationSerializer(serializers.Serializer[Any]):
    value = serializers.CharField(help_text="Empty when the rules have no opinion.")
    kept = serializers.ListField(child=serializers.CharField())
    reasons = serializers.ListField(child=serializers.CharField())
    counter = serializers.ListField(child=serializers.CharField(), help_text="What speaks against it.")


class ItemDetailSerializer(ItemSerializer):
    """`seen` is what counts; `current` is the present when it differs in a material fact, with what changed."""

    seen = serializers.SerializerMethodField()
    current = serializers.SerializerMethodField()
    drift = serializers.SerializerMethodField(help_text="What changed since `seen`; empty when nothing material did.")
    changed_since_certified = serializers.SerializerMethodField()
    comparison = serializers.SerializerMethodField(
        help_text="Every material fact when it was certified last, at launch and now; what widens access first."
    )
    last_certified_at = serializers.SerializerMethodField()
    barred = serializers.SerializerMethodField(
        help_text="Why you may not decide on it: what you are to it. Empty when you are independent."
    )
    recommendation = serializers.SerializerMethodField(
        help_text="What the rules recommend on this evidence, with what speaks against it. On critical and high tiers "
        "null before your own first answer."
    )
    reducible = serializers.SerializerMethodField(help_text="What `kept` of a reduction may name.")
    latest_until = serializers.SerializerMethodField()
    decision = serializers.SerializerMethodField(help_text="Your own answer, if you gave one.")

    class Meta(ItemSerializer.Meta):
        fields = [
            *ItemSerializer.Meta.fields, "seen", "current", "drift", "changed_since_certified", "comparison",
            "last_certified_at", "barred", "recommendation", "reducible", "latest_until", "decision",
        ]  # fmt: skip
        read_only_fields = fields

    def _present(self, item: Item) -> Any:
        """The facts of this moment while the item is open: None afterwards."""
        if not hasattr(item, "_present"):
            item._present = evidence_of(item.subject) if item.state in OPEN_ITEM else None  # type: ignore[attr-defined]
        return item._present  # type: ignore[attr-defined]

    def _now(self, item: Item) -> Any:
        now = self._present(item)
        return now if now is not None and now.fingerprint != item.seen.fingerprint else None

    @extend_schema_field(SeenSerializer)
    def get_seen(self, item: Item) -> dict[str, Any]:
        return SeenSerializer(item.seen).data

    @extend_schema_field(SeenSerializer(allow_null=True))
    def get_current(self, item: Item) -> dict[str, Any] | None:
        now = self._now(item)
        return SeenSerializer(now).data if now is not None else None

    @extend_schema_field(ChangeSerializer(many=True))
    def get_drift(self, item: Item) -> list[dict[str, Any]]:
        now = self._now(item)
        return _told(changes(item.seen.evidence, now.evidence)) if now is not None else []

    @extend_schema_field(ChangeSerializer(many=True, allow_null=True))
    def get_changed_since_certified(self, item: Item) -> list[dict[str, Any]] | None:
        baseline = self._baseline(item)
        return _told(changes(baseline[0], item.seen.evidence)) if baseline else None

    @extend_schema_field(ComparisonSerializer(many=True))
    def get_comparison(self, item: Item) -> list[dict[str, Any]]:
        then, now = self._baseline(item), self._present(item) or item.seen_later
        rows = three_way(then[0] if then else None, item.evidence, now.evidence if now is not None else None)
        return list(ComparisonSerializer(rows, many=True).data)

    def _baseline(self, item: Item) -> Any:
        if not hasattr(item, "_baseline"):
            item._baseline = desk.last_certified(item)  # type: ignore[attr-defined]
        return item._baseline  # type: ignore[attr-defined]

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_last_certified_at(self, item: Item) -> datetime | None:
        baseline = self._baseline(item)
        return baseline[1] if baseline else None

    def get_barred(self, item: Item) -> list[str]:
        return bars(actor_of(self.context["request"]).user_id, item)

    @extend_schema_field(RecommendationSerializer(allow_null=True))
    def get_recommendation(self, item: Item) -> dict[str, Any] | None:
        held = self.context.get("held")
        if held is None or item.state not in OPEN_ITEM or not may_show(item, held):
            return None
        return RecommendationSerializer(recommend(item, self._baseline(item))).data

    def get_reducible(self, item: Item) -> list[str]:
        return reducible(item.seen.snapshot)

    @extend_schema_field(serializers.DateField())
    def get_latest_until(self, item: Item) -> str:
        return latest_day(item).isoformat()

    @extend_schema_field(OwnDecisionSerializer(allow_null=True))
    def get_decision(self, item: Item) -> dict[str, Any] | None:
        held = self.context.get("held")
        decision = held.decisions.order_by("-decided_at").first() if held is not None else None
        return OwnDecisionSerializer(decision).data if decision is not None else None


def _told(found: list[Any]) -> list[dict[str, Any]]:
    return list(ChangeSerializer(found, many=True).data)


class HandOverInput(serializers.Serializer[Any]):
    to = serializers.PrimaryKeyRelatedField(queryset=User.objects.all())
    note = serializers.CharField(max_length=2000, allow_blank=True, default="")

    def get_fields(self) -> dict[str, Any]:
        whose = serializers.PrimaryKeyRelatedField(
            source="holder", queryset=User.objects.all(), required=False, help_text="Who has the item now."
        )
        return {**super().get_fields(), "from": whose}  # a word that Python keeps for itself


class EvidenceInput(serializers.Serializer[Any]):
    evidence_hash = serializers.CharField(max_length=64)


class IntakeInput(EvidenceInput):
    value = serializers.ChoiceField([("certify", "Activate"), ("return", "Return with reasons")])
    reason = serializers.CharField(max_length=4000, allow_blank=True, default="")


@extend_schema_view(retrieve=extend_schema(responses=ItemDetailSerializer))
class ItemViewSet(ReadViewSet):
    """One subject in one campaign, with its facts frozen at launch. Its ETag is what decisions are based on."""

    room = "reviews"
    serializer_class = ItemSerializer
    filterset_class = ItemFilter

    def get_queryset(self) -> QuerySet[Item]:
        items = Item.objects.visible_to(self.actor).prefetch_related(
            Prefetch("work_items", queryset=WorkItem.objects.order_by("created_at"))
        )
        if self.action == "list":
            return items.defer("snapshot")
        return items.select_related(
            "campaign",
            "block",
            "server",
            "grant__agent__server",
            "grant__server",
            "connection__server",
            "connection__system",
            "agent__server",
        ).prefetch_related("refreshes__block")

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        item = self.get_object()
        if (held := self._held(item)) is not None:
            # Handed out is not opened: that is for the answer to say (`opened`).
            services.note_shown(actor=self.actor, work_item=held)
        return self._answer(item)

    def _held(self, item: Item) -> WorkItem | None:
        """The caller's own work item: the open one, else the last."""
        rows = [w for w in item.work_items.all() if self.actor.is_person(w.reviewer_id)]
        held = next((w for w in rows if w.state != WorkItemState.CLOSED), rows[-1] if rows else None)
        if held is not None:
            held.item = item
        return held

    def _answer(self, item: Item) -> Response:
        held = self._held(item)
        data = ItemDetailSerializer(item, context={**self.get_serializer_context(), "held": held}).data
        return Response(data, headers={"ETag": review_version(held) if held is not None else item.etag})

    def _again(self) -> Response:
        """The item as it is after an act; whoever handed it on may no longer see it."""
        try:
            return self._answer(self.get_object())
        except Exception as error:
            if getattr(error, "status_code", 0) == status.HTTP_404_NOT_FOUND:
                return Response(status=status.HTTP_204_NO_CONTENT)
            raise

    def _mine(self) -> WorkItem:
        """The work item an act is about. Not being its reviewer is told by the act's permission."""
        item = self.get_object()
        held = self._held(item) or next(iter(reversed(item.work_items.all())), None)
        if held is None:
            raise NotFound("Nobody reviews this item yet.")
        held.item = item
        return held

    @extend_schema(
        summary="Go on with changed facts, having seen them", request=EvidenceInput, responses=ItemDetailSerializer
    )
    @action(detail=True, methods=["post"], url_path="confirm-facts")
    def confirm_facts(self, request: Request, pk: str | None = None) -> Response:
        services.confirm_facts(actor=self.actor, work_item=self._mine(), **self.parse(EvidenceInput))
        return self._again()

    @extend_schema(
        summary="Step back: somebody independent gets the item",
        request=ReviewReasonInput,
        parameters=[IF_MATCH],
        responses={200: ItemDetailSerializer, 204: OpenApiResponse(description="Done; you no longer see the item.")},
    )
    @action(detail=True, methods=["post"])
    def recuse(self, request: Request, pk: str | None = None) -> Response:
        services.recuse_work_item(
            actor=self.actor,
            work_item=self._mine(),
            expected_version=expected_version(request),
            **self.parse(ReviewReasonInput),
        )
        return self._again()

    @extend_schema(
        summary="Give the item to a named independent person",
        description="Delegates one's own item, reassigns anybody's as the campaign's manager, or assigns one that "
        "is in nobody's hands. When several have it, `from` says whose place is meant; without it, one's own.",
        request=HandOverInput,
        parameters=[IF_MATCH],
        responses={200: ItemDetailSerializer, 204: OpenApiResponse(description="Done; you no longer see the item.")},
    )
    @action(detail=True, methods=["post"], url_path="hand-over")
    def hand_over(self, request: Request, pk: str | None = None) -> Response:
        item = self.get_object()
        facts = self.parse(HandOverInput)
        holder = facts.pop("holder", None)
        held = list(item.work_items.exclude(state=WorkItemState.CLOSED).select_related("reviewer"))
        wanted = holder.pk if holder else self.actor.user_id
        place = next((each for each in held if each.reviewer_id == wanted), None)
        # One that lacks a reviewer is not taken from whoever has it: somebody is asked beside them.
        short = item.state == ItemState.PENDING
        if place is None and holder is None and len(held) == 1 and not short:
            place = held[0]
        if place is not None:
            version = expected_version(request)
            services.reassign_work_item(actor=self.actor, work_item=place, expected_version=version, **facts)
        elif held and (holder or not short):
            raise Invalid(fields={"from": [f"Say whose place: {', '.join(each.reviewer.email for each in held)}."]})
        else:
            services.assign_reviewer(actor=self.actor, item=item, **facts)
        return self._again()

    @extend_schema(
        summary="Activate or return a registration",
        description="Intake only: deciding and signing are one act.",
        request=IntakeInput,
        parameters=[IF_MATCH_REQUIRED],
        responses=ItemDetailSerializer,
    )
    @action(detail=True, methods=["post"], url_path="decide-intake")
    def decide_intake(self, request: Request, pk: str | None = None) -> Response:
        version = required_version(request)
        services.decide_intake(
            actor=self.actor,
            work_item=self._mine(),
            auth_method=AUTH_METHOD,
            expected_version=version,
            **self.parse(IntakeInput),
        )
        return self._again()
