"""REST resources: decisions."""

from uuid import UUID

from django.db.models import Q, QuerySet
from drf_spectacular.utils import (
    OpenApiResponse,
    extend_schema,
)
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from registry.core.api import ReadViewSet
from registry.core.errors import NotFound
from registry.core.independence import require_decider
from registry.core.permissions import require
from registry.reviews import services
from registry.reviews.api.items import EvidenceInput
from registry.reviews.api.shared import IF_MATCH_REQUIRED, required_version
from registry.reviews.filters import (
    DecisionFilter,
)
from registry.reviews.models import (
    Decision,
    Item,
    WorkItem,
)
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
            "decided_at", "signed_at", "sign_off", "supersedes",
        ]  # fmt: skip
        read_only_fields = fields


class DecisionInput(EvidenceInput):
    item = serializers.UUIDField()
    value = serializers.ChoiceField([c for c in Decision.Value.choices if c[0] != Decision.Value.RETURN])
    kept = serializers.ListField(
        child=serializers.CharField(max_length=200), default=list, help_text="Of a reduction: from `reducible`."
    )
    until = serializers.DateField(required=False, allow_null=True, help_text="Of certify_until.")
    reason = serializers.CharField(max_length=4000, allow_blank=True, default="")


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
            .select_related("work_item__item")
            .defer("work_item__item__snapshot")
        )

    def _work_item(self, item_id: UUID) -> WorkItem:
        item = Item.objects.visible_to(self.actor).filter(pk=item_id).first()
        if item is None:
            raise NotFound
        rows = item.work_items.order_by("created_at")
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
