"""REST resources of reviews: templates, campaigns, items, decisions, sign-offs, remediations, certificates."""

from typing import Any
from uuid import UUID

from django.db.models import Prefetch, Q, QuerySet
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
from registry.core.api import ReadViewSet, answer, expected_version
from registry.core.errors import NotFound, VersionRequired
from registry.core.independence import require_decider
from registry.core.permissions import require
from registry.reviews import queries, services
from registry.reviews.comparison import changes
from registry.reviews.facts import evidence_of, reducible
from registry.reviews.filters import (
    CampaignFilter,
    CertificateApiFilter,
    DecisionFilter,
    ItemFilter,
    RemediationFilter,
    SignOffFilter,
    TemplateFilter,
)
from registry.reviews.models import (
    Campaign,
    Certificate,
    Decision,
    Item,
    Remediation,
    SignOff,
    SubjectKind,
    Template,
    Verification,
    WorkItem,
)
from registry.reviews.services.decisions import latest_day
from registry.reviews.services.items import review_version
from registry.reviews.states import OPEN_ITEM, WorkItemState

AUTH_METHOD = "token"
IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="ETag you worked on; 412 when the record changed since."
)
IF_MATCH_REQUIRED = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    required=True,
    description="ETag of the item as you saw it; 428 without, 412 when it or your answer changed since.",
)


def required_version(request: Request) -> str:
    """The ETag a decision is based on. Raises `VersionRequired`."""
    version = expected_version(request)
    if not version:
        raise VersionRequired("Send If-Match with the ETag of the item you decided on.")
    return version


# --- Templates -------------------------------------------------------------------------------------------


class ScopeSerializer(serializers.Serializer[Any]):
    """Filters as on the list pages; what is absent does not restrict. Without lifecycle and status: what is active."""

    tier = serializers.ListField(child=serializers.CharField(), required=False)
    environment = serializers.ListField(child=serializers.CharField(), required=False)
    team = serializers.ListField(child=serializers.UUIDField(), required=False)
    lifecycle = serializers.ListField(child=serializers.CharField(), required=False, help_text="Of servers.")
    status = serializers.ListField(child=serializers.CharField(), required=False, help_text="Of relationships.")
    q = serializers.CharField(required=False, allow_blank=True)


class TemplateSerializer(serializers.ModelSerializer[Template]):
    scope = ScopeSerializer(read_only=True)

    class Meta:
        model = Template
        fields = [
            "id", "version", "created_at", "updated_at", "name", "kinds", "scope", "reviewer_rule", "reviewers",
            "cadence_days", "duration_days", "instructions", "owner", "enabled", "next_run_on",
        ]  # fmt: skip
        read_only_fields = fields


class TemplateInput(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)
    kinds = serializers.ListField(child=serializers.ChoiceField(SubjectKind.choices))
    scope = ScopeSerializer(required=False)
    reviewer_rule = serializers.ChoiceField(Template.ReviewerRule.choices, required=False)
    reviewers = serializers.PrimaryKeyRelatedField(
        queryset=User.objects.all(), many=True, required=False, help_text="Empty: everybody with the role reviewer."
    )
    cadence_days = serializers.IntegerField(required=False)
    duration_days = serializers.IntegerField(required=False)
    instructions = serializers.CharField(max_length=4000, required=False, allow_blank=True)
    enabled = serializers.BooleanField(required=False)
    next_run_on = serializers.DateField(required=False, allow_null=True)


class TemplatePatch(TemplateInput):
    name = serializers.CharField(max_length=120, required=False)
    kinds = serializers.ListField(child=serializers.ChoiceField(SubjectKind.choices), required=False)


class CountSerializer(serializers.Serializer[Any]):
    server = serializers.IntegerField(required=False)
    grant = serializers.IntegerField(required=False)
    connection = serializers.IntegerField(required=False)


class TemplateViewSet(ReadViewSet):
    """What is reviewed, how often and by whom. A campaign is one run of a template."""

    room = "reviews"
    serializer_class = TemplateSerializer
    filterset_class = TemplateFilter
    queryset = Template.objects.prefetch_related("reviewers")

    @extend_schema(request=TemplateInput, responses={201: TemplateSerializer})
    def create(self, request: Request) -> Response:
        template = services.create_template(actor=self.actor, **self.parse(TemplateInput))
        return answer(template, TemplateSerializer(template).data, status.HTTP_201_CREATED)

    @extend_schema(request=TemplatePatch, responses=TemplateSerializer, parameters=[IF_MATCH])
    def partial_update(self, request: Request, pk: str | None = None) -> Response:
        template = services.update_template(
            actor=self.actor,
            template=self.get_object(),
            expected_version=expected_version(request),
            **self.parse(TemplatePatch),
        )
        return answer(template, TemplateSerializer(template).data)

    @extend_schema(summary="How many subjects are in scope now", responses=CountSerializer)
    @action(detail=True)
    def scope(self, request: Request, pk: str | None = None) -> Response:
        template = self.get_object()
        counted = queries.count_in_scope(template.kinds, template.scope)
        return Response({str(name): number for name, number in counted.items()})


# --- Campaigns -------------------------------------------------------------------------------------------


class CampaignSerializer(serializers.ModelSerializer[Campaign]):
    class Meta:
        model = Campaign
        fields = [
            "id", "version", "created_at", "updated_at", "kind", "template", "name", "period", "scope", "scope_hash",
            "population_hash", "state", "state_reason", "owner", "instructions", "due_at", "launched_at",
            "completed_at", "processed", "total",
        ]  # fmt: skip
        read_only_fields = fields


class ProgressSerializer(serializers.Serializer[Any]):
    total = serializers.IntegerField(help_text="Items that ask for an answer.")
    decided = serializers.IntegerField(help_text="With an answer, signed or not.")
    signed = serializers.IntegerField()
    by_value = serializers.DictField(child=serializers.IntegerField())


class CampaignDetailSerializer(CampaignSerializer):
    progress = serializers.SerializerMethodField()
    gate = serializers.SerializerMethodField(help_text="Why a staged campaign does not start yet.")

    class Meta(CampaignSerializer.Meta):
        fields = [*CampaignSerializer.Meta.fields, "progress", "gate"]
        read_only_fields = fields

    @extend_schema_field(ProgressSerializer)
    def get_progress(self, campaign: Campaign) -> dict[str, Any]:
        found = queries.progress(campaign)
        return {"total": found.total, "decided": found.decided, "signed": found.signed, "by_value": found.by_value}

    def get_gate(self, campaign: Campaign) -> list[str]:
        return queries.gate(campaign).problems if campaign.state == "staged" else []


class LaunchInput(serializers.Serializer[Any]):
    template = serializers.PrimaryKeyRelatedField(queryset=Template.objects.all())
    period = serializers.CharField(max_length=40, required=False, help_text="Default: from the cadence, as 2026-Q4.")


class ReviewReasonInput(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=2000)


class ExtendInput(ReviewReasonInput):
    until = serializers.DateField()


class StatementInput(serializers.Serializer[Any]):
    statement = serializers.CharField(max_length=2000)


class RemindInput(serializers.Serializer[Any]):
    reviewer = serializers.PrimaryKeyRelatedField(queryset=User.objects.all())


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
        summary="Look for reviewers again", request=None, responses=CampaignDetailSerializer, parameters=[IF_MATCH]
    )
    @action(detail=True, methods=["post"], url_path="retry-assignment")
    def retry_assignment(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.retry_assignment)

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
        summary="Remind one reviewer by mail",
        request=RemindInput,
        responses=CampaignDetailSerializer,
        parameters=[IF_MATCH],
    )
    @action(detail=True, methods=["post"])
    def remind(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.remind_reviewer, **self.parse(RemindInput))


# --- Items -----------------------------------------------------------------------------------------------


class HolderSerializer(serializers.ModelSerializer[WorkItem]):
    """In whose hands an item is."""

    class Meta:
        model = WorkItem
        fields = ["id", "reviewer", "original_reviewer", "stage", "state", "chosen_because"]
        read_only_fields = fields


class ItemSerializer(serializers.ModelSerializer[Item]):
    subject = serializers.UUIDField(source="subject_pk", help_text="Id of the server, grant or connection.")
    work_items = HolderSerializer(many=True)

    class Meta:
        model = Item
        fields = [
            "id", "version", "created_at", "updated_at", "campaign", "kind", "subject", "label", "tier", "due_at",
            "state", "outcome", "fingerprint", "evidence_hash", "work_items",
        ]  # fmt: skip
        read_only_fields = fields


class ChangeSerializer(serializers.Serializer[Any]):
    sign = serializers.ChoiceField([("add", "added"), ("mod", "changed"), ("rem", "removed")])
    kind = serializers.CharField()
    what = serializers.CharField()
    detail = serializers.CharField()


class SeenSerializer(serializers.Serializer[Any]):
    """The evidence a decision is about: post `evidence_hash` with it."""

    fingerprint = serializers.CharField()
    evidence_hash = serializers.CharField()
    snapshot = serializers.JSONField()


class OwnDecisionSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    value = serializers.ChoiceField(Decision.Value.choices)
    kept = serializers.ListField(child=serializers.CharField())
    until = serializers.DateField(allow_null=True)
    reason = serializers.CharField()
    signed_at = serializers.DateTimeField(allow_null=True)


class ItemDetailSerializer(ItemSerializer):
    """`seen` is what counts; `current` is the present when it differs in a material fact, with what changed."""

    seen = serializers.SerializerMethodField()
    current = serializers.SerializerMethodField()
    drift = serializers.SerializerMethodField(help_text="What changed since `seen`; empty when nothing material did.")
    changed_since_certified = serializers.SerializerMethodField()
    reducible = serializers.SerializerMethodField(help_text="What `kept` of a reduction may name.")
    latest_until = serializers.SerializerMethodField()
    decision = serializers.SerializerMethodField(help_text="Your own answer, if you gave one.")

    class Meta(ItemSerializer.Meta):
        fields = [
            *ItemSerializer.Meta.fields, "seen", "current", "drift", "changed_since_certified", "reducible",
            "latest_until", "decision",
        ]  # fmt: skip
        read_only_fields = fields

    def _now(self, item: Item) -> Any:
        if not hasattr(item, "_now"):
            now = evidence_of(item.subject) if item.state in OPEN_ITEM else None
            changed = now is not None and now.fingerprint != item.seen.fingerprint
            item._now = now if changed else None  # type: ignore[attr-defined]
        return item._now  # type: ignore[attr-defined]

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
        return _told(changes(item.seen.snapshot, now.snapshot)) if now is not None else []

    @extend_schema_field(ChangeSerializer(many=True, allow_null=True))
    def get_changed_since_certified(self, item: Item) -> list[dict[str, Any]] | None:
        baseline = queries.last_certified(item)
        return _told(changes(baseline[0], item.seen.snapshot)) if baseline else None

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
            "campaign", "server", "grant__agent__server", "grant__server", "connection__server", "connection__system"
        ).prefetch_related("refreshes")

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self._answer(self.get_object())

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
        "is in nobody's hands.",
        request=HandOverInput,
        responses={200: ItemDetailSerializer, 204: OpenApiResponse(description="Done; you no longer see the item.")},
    )
    @action(detail=True, methods=["post"], url_path="hand-over")
    def hand_over(self, request: Request, pk: str | None = None) -> Response:
        item = self.get_object()
        facts = self.parse(HandOverInput)
        held = item.work_items.exclude(state=WorkItemState.CLOSED).first()
        if held is None:
            services.assign_reviewer(actor=self.actor, item=item, **facts)
        else:
            services.reassign_work_item(actor=self.actor, work_item=held, **facts)
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


# --- Decisions -------------------------------------------------------------------------------------------


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


# --- Sign-offs, remediations, certificates ---------------------------------------------------------------


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


routes = [
    ("templates", TemplateViewSet, "template"),
    ("campaigns", CampaignViewSet, "campaign"),
    ("items", ItemViewSet, "item"),
    ("decisions", DecisionViewSet, "decision"),
    ("sign-offs", SignOffViewSet, "sign-off"),
    ("remediations", RemediationViewSet, "remediation"),
    ("certificates", CertificateViewSet, "certificate"),
]
