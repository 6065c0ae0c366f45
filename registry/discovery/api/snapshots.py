"""REST resources of snapshots: what looks at servers brought back, and where gateways and operators push theirs."""

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from registry.catalog.models import Endpoint, Server
from registry.core import clock
from registry.core.api import ReadViewSet
from registry.core.errors import Invalid
from registry.core.rest import Problem
from registry.discovery import services
from registry.discovery.definitions import MAX_BYTES, MAX_TOOLS
from registry.discovery.filters import SnapshotFilter
from registry.discovery.models import Definitions, Drift, DriftState, Snapshot, Watch
from registry.discovery.seen import Listing, Seen

MAX_BODY = MAX_BYTES + 1024 * 1024
CHANNELS = [choice for choice in Snapshot.Channel.choices if choice[0] != Snapshot.Channel.PROBE]


class SignSerializer(serializers.Serializer[Any]):
    rule = serializers.CharField()
    severity = serializers.ChoiceField(choices=["high", "medium", "low"])
    where = serializers.CharField(help_text="JSON pointer that names tools instead of numbering them.")
    excerpt = serializers.CharField(help_text="What was found, with invisible characters spelled out.")


class PostureSerializer(serializers.Serializer[Any]):
    check = serializers.CharField()
    outcome = serializers.ChoiceField(choices=["pass", "warn", "fail", "unknown"])
    detail = serializers.CharField()


class SnapshotSerializer(serializers.ModelSerializer[Snapshot]):
    definitions = serializers.CharField(
        source="definitions_id", allow_null=True, help_text="SHA-256 of what was listed; null when nothing was."
    )
    server_info = serializers.DictField(child=serializers.CharField(), help_text="As the server reports itself.")
    capabilities = serializers.DictField(help_text="What the client declared it can do.")
    posture = PostureSerializer(many=True)
    signs = SignSerializer(many=True)

    class Meta:
        model = Snapshot
        fields = [
            "id", "server", "endpoint", "channel", "run", "taken_at", "received_at", "by", "identity", "capabilities",
            "outcome", "detail", "era", "transport", "server_info", "definitions", "posture", "signs", "pages", "size",
            "milliseconds",
        ]  # fmt: skip
        read_only_fields = fields


class DefinitionsSerializer(serializers.ModelSerializer[Definitions]):
    tools = serializers.ListField(child=serializers.DictField())
    prompts = serializers.ListField(child=serializers.DictField())
    resource_templates = serializers.ListField(child=serializers.DictField())
    tool_digests = serializers.DictField(child=serializers.CharField())

    class Meta:
        model = Definitions
        fields = [
            "digest", "tools", "instructions", "prompts", "resource_templates", "tool_digests", "size", "first_seen",
        ]  # fmt: skip
        read_only_fields = fields


class StandingSerializer(serializers.Serializer[Any]):
    """What the registry makes of the looks this person pushed under this identity so far. Those settle no drift that
    others saw, least of all the registry itself."""

    stability = serializers.ChoiceField(choices=Watch.Stability.choices)
    unstable_paths = serializers.ListField(child=serializers.CharField())
    confirmed = serializers.BooleanField(help_text="False: look once more; a difference is believed when seen twice.")
    drift = serializers.UUIDField(allow_null=True, help_text="The drift that is open.")
    severity = serializers.CharField(allow_blank=True)
    sentences = serializers.ListField(child=serializers.CharField())


class SnapshotDetailSerializer(SnapshotSerializer):
    definitions = DefinitionsSerializer(allow_null=True)  # type: ignore[assignment]


class PushedSerializer(SnapshotSerializer):
    standing = serializers.SerializerMethodField()

    class Meta(SnapshotSerializer.Meta):
        fields = [*SnapshotSerializer.Meta.fields, "standing"]
        read_only_fields = fields

    @extend_schema_field(StandingSerializer)
    def get_standing(self, snapshot: Snapshot) -> dict[str, Any]:
        watch = Watch.objects.behind(snapshot).get()
        drift = Drift.objects.filter(watch=watch, state=DriftState.OPEN).first()
        settled = snapshot.definitions is None or watch.settled_id == snapshot.definitions_id
        return {
            "stability": watch.stability,
            "unstable_paths": watch.unstable_paths,
            "confirmed": settled or watch.stability == Watch.Stability.UNSTABLE,
            "drift": str(drift.pk) if drift else None,
            "severity": drift.severity if drift else "",
            "sentences": [each["sentence"] for each in drift.differences] if drift else [],
        }


class ListingInput(serializers.Serializer[Any]):
    """Raw, as the server's messages said it, every page joined."""

    tools = serializers.ListField(child=serializers.DictField(), max_length=MAX_TOOLS)
    instructions = serializers.CharField(default="", allow_blank=True, trim_whitespace=False)
    prompts = serializers.ListField(child=serializers.DictField(), default=list, max_length=MAX_TOOLS)
    resource_templates = serializers.ListField(child=serializers.DictField(), default=list, max_length=MAX_TOOLS)


class SnapshotInput(serializers.Serializer[Any]):
    channel = serializers.ChoiceField(choices=CHANNELS, help_text="Who looked: an operator's command or a gateway.")
    endpoint = serializers.UUIDField(
        default=None, allow_null=True, help_text="Which endpoint of the server; the only one by default."
    )
    identity = serializers.CharField(
        default="anonymous",
        max_length=100,
        help_text="Under which identity and settings; only looks of the same one are compared.",
    )
    run = serializers.UUIDField(
        default=None,
        allow_null=True,
        help_text="The same for looks taken right after one another at one program: what differs varies by itself.",
    )
    taken_at = serializers.DateTimeField(default=None, allow_null=True)
    outcome = serializers.ChoiceField(choices=Snapshot.Outcome.choices, default=Snapshot.Outcome.LISTED)
    detail = serializers.CharField(default="", allow_blank=True, max_length=500)
    era = serializers.RegexField(r"^\d{4}-\d\d-\d\d$", default="", allow_blank=True, help_text="The MCP revision.")
    transport = serializers.ChoiceField(choices=["stdio", "streamable-http", "sse"], default="stdio")
    capabilities = serializers.DictField(default=dict, help_text="What the client declared it can do.")
    server_info = serializers.DictField(
        child=serializers.CharField(allow_blank=True, max_length=300), default=dict, help_text="As it reports itself."
    )
    listing = ListingInput(default=None, allow_null=True)
    pages = serializers.IntegerField(default=0, min_value=0, max_value=10_000)
    size = serializers.IntegerField(default=0, min_value=0, max_value=2**31 - 1)
    milliseconds = serializers.IntegerField(default=0, min_value=0, max_value=2**31 - 1)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if (attrs["outcome"] == Snapshot.Outcome.LISTED) != (attrs["listing"] is not None):
            raise serializers.ValidationError(
                {"listing": ["Give what was listed, exactly when the outcome is that something was."]}
            )
        return attrs


class SnapshotsViewSet(ReadViewSet):
    """Every look at every server one may see."""

    room = "discovery"
    serializer_class = SnapshotSerializer
    filterset_class = SnapshotFilter

    def get_queryset(self) -> QuerySet[Any]:
        return Snapshot.objects.visible_to(self.actor)

    @extend_schema(summary="One look with what was listed", responses=SnapshotDetailSerializer)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        # Append-only: there is nothing to be out of date with, hence no ETag.
        return Response(SnapshotDetailSerializer(self.get_object()).data)


@extend_schema_view(
    list=extend_schema(summary="Looks at one server, newest first", operation_id="server_snapshots_list")
)
class ServerSnapshotsViewSet(ReadViewSet):
    """Looks at one server."""

    room = "discovery"
    queryset = Snapshot.objects.none()  # which model it is, for the description of the API
    serializer_class = SnapshotSerializer
    filterset_class = SnapshotFilter

    def get_queryset(self) -> QuerySet[Any]:
        return Snapshot.objects.visible_to(self.actor).filter(server=self._server())

    def _server(self) -> Server:
        visible = Server.objects.visible_to(self.actor)
        found: Server = get_object_or_404(visible, pk=self.kwargs.get("server_pk"))
        return found

    @extend_schema(
        summary="Push what a server lists",
        description="For gateways, and for operators who start servers over stdio (`manage.py probe_stdio`). "
        f"At most {MAX_BODY // 1024**2} MB. Nothing is approved by being pushed.",
        request=SnapshotInput,
        responses={201: PushedSerializer},
    )
    def create(self, request: Request, server_pk: Any = None) -> Response:
        server = self._server()
        if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY:
            raise Problem(413, "too-large", f"Send at most {MAX_BODY // 1024**2} MB.")
        given = self.parse(SnapshotInput)
        _refuse_strange(request.data)
        listing = given.pop("listing")
        snapshot = services.record_snapshot(
            actor=self.actor,
            server=server,
            channel=given.pop("channel"),
            endpoint=_endpoint(server, given.pop("endpoint"), given["transport"]),
            identity=given.pop("identity"),
            run=given.pop("run"),
            taken_at=given.pop("taken_at") or clock.now(),
            seen=Seen(listing=Listing(**listing) if listing is not None else None, **given),
        )
        return Response(PushedSerializer(snapshot).data, status=status.HTTP_201_CREATED)


def _refuse_strange(body: Any) -> None:
    """A misspelt name inside the listing must not make a list look empty."""
    listing = body["listing"] if isinstance(body, Mapping) and "listing" in body else None
    if isinstance(listing, Mapping) and (strange := listing.keys() - ListingInput().fields.keys()):
        raise Invalid(fields={f"listing.{name}": ["There is no such field."] for name in sorted(strange)})


def _endpoint(server: Server, pk: Any, transport: str) -> Endpoint | None:
    """The endpoint that is named, or the only one that fits; which one else is left open."""
    current = server.endpoints.filter(retired_at=None)
    if pk is not None:
        found = current.filter(pk=pk).first()
        if found is None:
            raise Invalid(fields={"endpoint": ["This is no endpoint of this server."]})
        return found
    fitting = list(current.filter(transport=transport)[:2])
    return fitting[0] if len(fitting) == 1 else None
