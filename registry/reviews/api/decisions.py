"""REST resources: decisions."""

from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.core.api import ReadViewSet
from registry.core.errors import Invalid, NotFound
from registry.core.independence import require_decider
from registry.core.permissions import require
from registry.reviews import services
from registry.reviews.api.items import EvidenceInput
from registry.reviews.api.shared import ANSWERS, IF_MATCH_REQUIRED, required_version
from registry.reviews.filters import (
    DecisionFilter,
)
from registry.reviews.models import (
    Decision,
    Item,
    WorkItem,
)
from registry.reviews.services import bulk
from registry.reviews.services.items import review_version
from registry.reviews.states import WorkItemState


class DecisionSerializer(serializers.ModelSerializer[Decision]):
    item = serializers.UUIDField(source="work_item.item_id")
    campaign = serializers.UUIDField(source="work_item.item.campaign_id")
    reviewer = serializers.UUIDField(source="work_item.reviewer_id")

    class Meta:
        model = Decision
        fields = [
            "id", "version", "item", "campaign", "reviewer", "value", "kept", "until", "reason", "evidence_hash",
            "opened_evidence_at", "decided_at", "decided_ms", "bulk_id", "first_value", "recommended", "signed_at",
            "sign_off", "supersedes",
        ]  # fmt: skip
        read_only_fields = fields


class DecisionInput(EvidenceInput):
    item = serializers.UUIDField()
    value = serializers.ChoiceField(ANSWERS)
    kept = serializers.ListField(
        child=serializers.CharField(max_length=200), default=list, help_text="Of a reduction: from `reducible`."
    )
    until = serializers.DateField(required=False, allow_null=True, help_text="Of certify_until.")
    reason = serializers.CharField(max_length=4000, allow_blank=True, default="")
    opened = serializers.BooleanField(
        default=False,
        help_text="Whether you opened the evidence that `GET /items/{id}` hands out. Nothing critical is kept without.",
    )


class BulkItemInput(EvidenceInput):
    item = serializers.UUIDField()
    version = serializers.CharField(
        max_length=120, help_text="The item's ETag as you saw it, as If-Match is for one decision."
    )


class BulkInput(serializers.Serializer[Any]):
    items = serializers.ListField(child=BulkItemInput(), min_length=1, max_length=bulk.MOST)
    value = serializers.ChoiceField(ANSWERS)
    kept = serializers.ListField(child=serializers.CharField(max_length=200), default=list)
    until = serializers.DateField(required=False, allow_null=True)
    reason = serializers.CharField(max_length=4000, allow_blank=True, default="")


class CandidateSerializer(serializers.Serializer[Any]):
    item = serializers.UUIDField(source="item.pk")
    label = serializers.CharField(source="item.label")  # type: ignore[assignment]
    tier = serializers.CharField(source="item.tier")
    evidence_hash = serializers.CharField(source="item.seen.evidence_hash")
    version = serializers.SerializerMethodField(help_text="For `POST /decisions/bulk`.")
    opened = serializers.BooleanField(help_text="Whether you looked at it.")
    because = serializers.CharField(help_text="Why it is taken out; empty for those that fit.")

    def get_version(self, candidate: bulk.Candidate) -> str:
        return review_version(candidate.work_item)


class CandidatesSerializer(serializers.Serializer[Any]):
    """What may be decided together with an item, what is taken out, and which of them to open before."""

    fit = CandidateSerializer(many=True)
    outliers = CandidateSerializer(many=True)
    sample = CandidateSerializer(many=True)
    more = serializers.IntegerField(help_text="Equal ones beyond the limit of one bulk.")


class DecisionViewSet(ReadViewSet):
    """Answers. Drafts are seen by their author only; signed ones by whoever sees the item."""

    room = "reviews"
    serializer_class = DecisionSerializer
    filterset_class = DecisionFilter

    def get_queryset(self) -> QuerySet[Decision]:
        own = Q(work_item__reviewer=self.actor.user_id)
        return (
            Decision.objects.filter(work_item__item__in=Item.objects.visible_to(self.actor))
            .filter(Q(signed_at__isnull=False) | own)
            .select_related("work_item__item__campaign")
            .defer("work_item__item__snapshot")
        )

    def _work_item(self, item_id: UUID) -> WorkItem:
        item = Item.objects.visible_to(self.actor).filter(pk=item_id).first()
        if item is None:
            raise NotFound
        rows = item.work_items.select_related("item__campaign").order_by("created_at")
        own = rows.filter(reviewer=self.actor.user_id)
        held = own.exclude(state=WorkItemState.CLOSED).first() or own.last() or rows.last()
        if held is None:
            raise NotFound("Nobody reviews this item yet.")
        return held

    @extend_schema(
        summary="Draft an answer, or change the draft",
        description="Nothing happens to the subject before `POST /sign-offs`. The answer's ETag is the item's, "
        "for the next change.",
        request=DecisionInput,
        parameters=[IF_MATCH_REQUIRED],
        responses={200: DecisionSerializer, 428: OpenApiResponse(description="If-Match is missing.")},
    )
    def create(self, request: Request) -> Response:
        facts = self.parse(DecisionInput)
        work_item = self._work_item(facts.pop("item"))
        require_decider(self.actor, "reviews.decide", work_item)
        decision = services.save_decision(
            actor=self.actor, work_item=work_item, expected_version=required_version(request), **facts
        )
        return Response(DecisionSerializer(decision).data, headers={"ETag": review_version(decision.work_item)})

    @extend_schema(
        summary="Take an unsigned answer back",
        parameters=[IF_MATCH_REQUIRED],
        responses={204: None, 409: OpenApiResponse(description="It is signed.")},
    )
    def destroy(self, request: Request, pk: str | None = None) -> Response:
        decision = self.get_object()
        require(self.actor, "reviews.decide", decision.work_item)
        services.undo_decision(
            actor=self.actor, work_item=decision.work_item, expected_version=required_version(request)
        )
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        summary="What may be decided together with an item",
        parameters=[OpenApiParameter("item", UUID, required=True, description="One of your undecided items.")],
        responses=CandidatesSerializer,
        filters=False,
    )
    @action(detail=False, filterset_class=None, pagination_class=None, url_path="bulk-candidates")
    def bulk_candidates(self, request: Request) -> Response:
        try:
            item = UUID(request.query_params.get("item", ""))
        except ValueError:
            raise Invalid(fields={"item": ["Give the id of an item."]}) from None
        work_item = self._work_item(item)
        found = bulk.bulk_candidates(actor=self.actor, work_item=work_item)
        return Response(CandidatesSerializer(found).data)

    @extend_schema(
        summary="Draft the same answer on several equal items",
        description="All or none. Each becomes a decision of its own under one `bulk_id`. 422 names by "
        "`/items.{item}` each one that stands in the way.",
        request=BulkInput,
        responses={200: DecisionSerializer(many=True)},
        filters=False,
    )
    @action(detail=False, methods=["post"], filterset_class=None, pagination_class=None, url_path="bulk")
    def decide_bulk(self, request: Request) -> Response:
        facts = self.parse(BulkInput)
        wanted = facts.pop("items")
        work_items = [self._work_item(each["item"]) for each in wanted]
        decisions = services.decide_bulk(
            actor=self.actor,
            campaign=work_items[0].item.campaign,
            work_items=work_items,
            evidence={each["item"]: each["evidence_hash"] for each in wanted},
            versions={each["item"]: each["version"] for each in wanted},
            **facts,
        )
        return Response(DecisionSerializer(decisions, many=True).data)

    @extend_schema(
        summary="Take back what one bulk drafted",
        description="What was decided anew or signed since stays.",
        request=None,
        responses={204: None},
        filters=False,
    )
    @action(
        detail=False,
        methods=["delete"],
        filterset_class=None,
        pagination_class=None,
        url_path=r"bulk/(?P<bulk_id>[^/.]+)",
    )
    def undo_bulk(self, request: Request, bulk_id: str) -> Response:
        try:
            wanted = UUID(bulk_id)
        except ValueError:
            raise NotFound from None
        draft = self.get_queryset().filter(bulk_id=wanted, signed_at=None).first()
        if draft is None:
            raise NotFound
        services.undo_bulk(actor=self.actor, campaign=draft.work_item.item.campaign, bulk_id=wanted)
        return Response(status=status.HTTP_204_NO_CONTENT)
