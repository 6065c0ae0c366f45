"""REST resources of the catalog. Rows carry their parts' ids and names, so that one call answers one question."""

from typing import Any

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounts.models import Team, User
from registry.catalog import services, succession_api, visibility_api
from registry.catalog.filters import (
    AgentFilter,
    EndpointFilter,
    IssuerFilter,
    PurposeFilter,
    SecretSourceFilter,
    ServerFilter,
    SystemFilter,
    ToolFilter,
)
from registry.catalog.looks import note_look
from registry.catalog.models import (
    Agent,
    DataClass,
    Endpoint,
    Environment,
    Issuer,
    Purpose,
    RevocationStep,
    SecretSource,
    Server,
    System,
    Tool,
    ToolClass,
    Transport,
)
from registry.catalog.queries import completeness
from registry.core.api import ReadViewSet, ReasonInput, SeenField, answer, expected_version

IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    description="ETag you worked on; 412 when the record changed since.",
)
_stamps = ["id", "version", "created_at", "updated_at"]


class EndpointSerializer(serializers.ModelSerializer[Endpoint]):
    class Meta:
        model = Endpoint
        fields = [
            *_stamps, "server", "transport", "url", "package_registry", "package_identifier", "package_version",
            "package_sha256", "canonical_uri", "inputs", "retired_at",
        ]  # fmt: skip
        read_only_fields = fields


class ToolSerializer(serializers.ModelSerializer[Tool]):
    approved = serializers.BooleanField(read_only=True)

    class Meta:
        model = Tool
        fields = [
            *_stamps, "server", "name", "title", "description", "definition", "digest", "claimed_class",
            "confirmed_class", "approved", "approved_digest", "approved_at", "retired_at",
        ]  # fmt: skip
        read_only_fields = fields


class PurposeSerializer(serializers.ModelSerializer[Purpose]):
    class Meta:
        model = Purpose
        fields = [
            *_stamps, "server", "number", "statement", "in_scope", "out_of_scope", "data_classes", "ends_on",
            "created_by",
        ]  # fmt: skip
        read_only_fields = fields


class SecretSourceSerializer(serializers.ModelSerializer[SecretSource]):
    class Meta:
        model = SecretSource
        fields = [
            *_stamps, "server", "kind", "reference", "name", "credential_type", "max_lifetime_seconds",
            "rotation_interval_days", "last_rotated_on", "revocable_by", "reason", "verification",
            "verified_at", "retired_at",
        ]  # fmt: skip
        read_only_fields = fields


class RevocationStepSerializer(serializers.ModelSerializer[RevocationStep]):
    class Meta:
        model = RevocationStep
        fields = ["id", "position", "instruction", "executor", "responsible", "expected_minutes"]
        read_only_fields = fields


class ServerSerializer(serializers.ModelSerializer[Server]):
    """A server as it stands in a list."""

    class Meta:
        model = Server
        fields = [
            *_stamps, "name", "title", "description", "release", "environment", "lifecycle", "lifecycle_reason",
            "tier", "tier_factors", "owner", "deputy", "operator", "team", "owner_accepted_at", "website_url",
            "repository_url", "confidential", "confidential_because", "certified_until", "quarantined_at",
            "submitted_at", "activated_at", "retired_at",
        ]  # fmt: skip
        read_only_fields = fields


class QuestionSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    answered = serializers.BooleanField()
    missing = serializers.ListField(child=serializers.CharField())
    advice = serializers.ListField(child=serializers.CharField())


class ServerDetailSerializer(ServerSerializer):
    """A server with everything it is made of."""

    purpose = PurposeSerializer(read_only=True, allow_null=True)
    endpoints = EndpointSerializer(many=True, read_only=True)
    tools = ToolSerializer(many=True, read_only=True)
    secret_sources = SecretSourceSerializer(many=True, read_only=True)
    revocation_path = RevocationStepSerializer(source="revocation_steps", many=True, read_only=True)
    completeness = serializers.SerializerMethodField()

    class Meta(ServerSerializer.Meta):
        fields = [
            *ServerSerializer.Meta.fields, "purpose", "endpoints", "tools", "secret_sources", "revocation_path",
            "completeness",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(QuestionSerializer(many=True))
    def get_completeness(self, server: Server) -> Any:
        return QuestionSerializer(completeness(server).questions, many=True).data


class EndpointInput(serializers.Serializer[Any]):
    transport = serializers.ChoiceField(Transport.choices, required=False)
    url = serializers.CharField(required=False, allow_blank=True, max_length=500)
    package_registry = serializers.CharField(required=False, allow_blank=True, max_length=20)
    package_identifier = serializers.CharField(required=False, allow_blank=True, max_length=300)
    package_version = serializers.CharField(required=False, allow_blank=True, max_length=255)
    package_sha256 = serializers.RegexField(r"^[a-f0-9]{64}$", required=False, allow_blank=True)


class UpdateServerInput(serializers.Serializer[Any]):
    name = serializers.CharField(required=False, max_length=200)
    title = serializers.CharField(required=False, allow_blank=True, max_length=100)
    description = serializers.CharField(required=False, allow_blank=True, max_length=2000)
    environment = serializers.ChoiceField(Environment.choices, required=False)
    release = serializers.CharField(required=False, allow_blank=True, max_length=255)
    website_url = serializers.CharField(required=False, allow_blank=True, max_length=500)
    repository_url = serializers.CharField(required=False, allow_blank=True, max_length=500)
    confidential = serializers.BooleanField(required=False)


class RegisterServerInput(UpdateServerInput):
    name = serializers.CharField(max_length=200)
    endpoints = EndpointInput(many=True, required=False)


class EndpointsInput(serializers.Serializer[Any]):
    endpoints = EndpointInput(many=True)


class PeopleInput(serializers.Serializer[Any]):
    owner = serializers.PrimaryKeyRelatedField(queryset=User.objects.all(), allow_null=True)
    deputy = serializers.PrimaryKeyRelatedField(queryset=User.objects.all(), allow_null=True)
    team = serializers.PrimaryKeyRelatedField(queryset=Team.objects.all(), allow_null=True)
    operator = serializers.PrimaryKeyRelatedField(
        queryset=User.objects.all(),
        allow_null=True,
        required=False,
        help_text="Who runs it day to day, when neither owner nor deputy does. Left as it is when not sent.",
    )


class PurposeInput(serializers.Serializer[Any]):
    statement = serializers.CharField(max_length=2000, allow_blank=True)
    in_scope = serializers.ListField(child=serializers.CharField(max_length=300), default=list)
    out_of_scope = serializers.ListField(child=serializers.CharField(max_length=300), default=list)
    data_classes = serializers.ListField(child=serializers.ChoiceField(DataClass.choices))
    ends_on = serializers.DateField()


class ToolInput(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=128)
    title = serializers.CharField(required=False, allow_blank=True, max_length=200)
    description = serializers.CharField(required=False, allow_blank=True, max_length=20000)
    definition = serializers.DictField(required=False)
    claimed_class = serializers.ChoiceField(ToolClass.choices, required=False, allow_blank=True)
    confirmed_class = serializers.ChoiceField(ToolClass.choices, required=False, allow_blank=True)


class ToolsInput(serializers.Serializer[Any]):
    tools = ToolInput(many=True)


class SecretSourceInput(serializers.ModelSerializer[SecretSource]):
    class Meta:
        model = SecretSource
        fields = [
            "kind", "reference", "name", "credential_type", "max_lifetime_seconds", "rotation_interval_days",
            "last_rotated_on", "revocable_by", "reason",
        ]  # fmt: skip


class SecretSourcesInput(serializers.Serializer[Any]):
    sources = SecretSourceInput(many=True)


class StepInput(serializers.ModelSerializer[RevocationStep]):
    class Meta:
        model = RevocationStep
        fields = ["instruction", "executor", "responsible", "expected_minutes"]


class StepsInput(serializers.Serializer[Any]):
    steps = StepInput(many=True)


class TierInput(serializers.Serializer[Any]):
    tier = serializers.CharField(allow_blank=True)
    reason = serializers.CharField(max_length=1000)


class CatalogViewSet(ReadViewSet):
    room = "catalog"

    def get_object(self) -> Any:
        thing = super().get_object()
        if self.action == "retrieve":
            note_look(self.actor, self.about(thing))
        return thing

    def about(self, thing: Any) -> Agent | Server | System:
        """The agent, server or system that is looked at."""
        found: Agent | Server | System = thing
        return found


def in_use(model: type[Any]) -> QuerySet[Any]:
    return model._default_manager.filter(retired_at=None)


@extend_schema_view(
    list=extend_schema(summary="List servers", responses=ServerSerializer(many=True)),
    retrieve=extend_schema(summary="One server with all its parts", responses=ServerDetailSerializer),
)
class ServerViewSet(CatalogViewSet):
    """MCP servers as governed things, and every act on them."""

    serializer_class = ServerSerializer
    filterset_class = ServerFilter

    def get_queryset(self) -> QuerySet[Server]:
        servers: QuerySet[Server] = Server.objects.visible_to(self.actor)
        if self.action == "list":
            return servers
        return servers.select_related("owner", "deputy").prefetch_related(
            Prefetch("endpoints", in_use(Endpoint)),
            Prefetch("tools", in_use(Tool)),
            Prefetch("secret_sources", in_use(SecretSource)),
            Prefetch("revocation_steps", in_use(RevocationStep)),
        )

    def get_serializer_class(self) -> type[serializers.ModelSerializer[Server]]:
        return ServerSerializer if self.action == "list" else ServerDetailSerializer

    def _answer(self, server: Server, code: int = 200) -> Response:
        fresh = self.get_queryset().get(pk=server.pk)
        return answer(fresh, ServerDetailSerializer(fresh).data, code)

    @extend_schema(
        summary="Register a server (a draft)",
        request=RegisterServerInput,
        responses={201: ServerDetailSerializer},
    )
    def create(self, request: Request) -> Response:
        server = services.register_server(actor=self.actor, **self.parse(RegisterServerInput))
        return self._answer(server, status.HTTP_201_CREATED)

    @extend_schema(
        summary="Change identity",
        parameters=[IF_MATCH],
        request=UpdateServerInput,
        responses=ServerDetailSerializer,
    )
    def partial_update(self, request: Request, pk: str | None = None) -> Response:
        facts = self.parse(UpdateServerInput)
        return self._act(services.update_identity, **facts)

    def _act(self, act: Any, **facts: Any) -> Response:
        """One act on the addressed server, honouring If-Match, answered with the server as it is now."""
        server = self.get_object()
        act(actor=self.actor, server=server, expected_version=expected_version(self.request), **facts)
        return self._answer(server)

    @extend_schema(summary="Declare the endpoints", parameters=[IF_MATCH], request=EndpointsInput)
    @action(detail=True, methods=["put"])
    def endpoints(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.set_endpoints, **self.parse(EndpointsInput))

    @extend_schema(summary="Name owner, deputy, team and operator", parameters=[IF_MATCH], request=PeopleInput)
    @action(detail=True, methods=["put"])
    def people(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.assign_people, **self.parse(PeopleInput))

    @extend_schema(summary="Set the bounded purpose", parameters=[IF_MATCH], request=PurposeInput)
    @action(detail=True, methods=["put"])
    def purpose(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.set_purpose, **self.parse(PurposeInput))

    @extend_schema(summary="Declare the tools", parameters=[IF_MATCH], request=ToolsInput)
    @action(detail=True, methods=["put"])
    def tools(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.set_tools, **self.parse(ToolsInput))

    @extend_schema(summary="Document the secret sources", parameters=[IF_MATCH], request=SecretSourcesInput)
    @action(detail=True, methods=["put"], url_path="secret-sources")
    def secret_sources(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.set_secret_sources, **self.parse(SecretSourcesInput))

    @extend_schema(summary="Write down the revocation path", parameters=[IF_MATCH], request=StepsInput)
    @action(detail=True, methods=["put"], url_path="revocation-path")
    def revocation_path(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.set_revocation_path, **self.parse(StepsInput))

    @extend_schema(summary="Accept ownership", request=None)
    @action(detail=True, methods=["post"], url_path="accept-ownership")
    def accept_ownership(self, request: Request, pk: str | None = None) -> Response:
        server = services.accept_ownership(actor=self.actor, server=self.get_object())
        return self._answer(server)

    @extend_schema(summary="Submit for the intake review", parameters=[IF_MATCH], request=None)
    @action(detail=True, methods=["post"])
    def submit(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.submit_server)

    @extend_schema(summary="Take a submitted server back to draft", parameters=[IF_MATCH], request=None)
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.withdraw_server)

    @extend_schema(summary="Suspend, reversibly", parameters=[IF_MATCH], request=ReasonInput)
    @action(detail=True, methods=["post"])
    def suspend(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.suspend_server, **self.parse(ReasonInput))

    @extend_schema(summary="Resume", parameters=[IF_MATCH], request=ReasonInput)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.resume_server, **self.parse(ReasonInput))

    @extend_schema(summary="Retire for good", parameters=[IF_MATCH], request=ReasonInput)
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.retire_server, **self.parse(ReasonInput))

    @extend_schema(summary="Raise or lower the tier by hand", request=TierInput)
    @action(detail=True, methods=["post"], url_path="override-tier")
    def override_tier(self, request: Request, pk: str | None = None) -> Response:
        server = services.override_tier(actor=self.actor, server=self.get_object(), **self.parse(TierInput))
        return self._answer(server)


class PartViewSet(CatalogViewSet):
    """Parts of servers across all servers one may see; written through the server they belong to."""

    model: type[Any]

    def get_queryset(self) -> QuerySet[Any]:
        visible = Server.objects.visible_to(self.actor)
        return self.model._default_manager.filter(server__in=visible)

    def about(self, thing: Any) -> Server:
        server: Server = thing.server
        return server


class EndpointViewSet(PartViewSet):
    """Ways to reach servers."""

    model, serializer_class = Endpoint, EndpointSerializer
    filterset_class = EndpointFilter


class ToolViewSet(PartViewSet):
    """Tools of servers."""

    model, serializer_class = Tool, ToolSerializer
    filterset_class = ToolFilter


class PurposeViewSet(PartViewSet):
    """Every version of every server's purpose."""

    model, serializer_class = Purpose, PurposeSerializer
    filterset_class = PurposeFilter


class SecretSourceViewSet(PartViewSet):
    """Where credentials come from; never a value."""

    model, serializer_class = SecretSource, SecretSourceSerializer
    filterset_class = SecretSourceFilter


class SystemSerializer(serializers.ModelSerializer[System]):
    class Meta:
        model = System
        fields = [
            *_stamps, "name", "kind", "data_class", "environment", "owner", "team", "description", "confidential",
            "confidential_because", "standing",
        ]  # fmt: skip
        read_only_fields = [*_stamps, "confidential_because", "standing"]
        validators: list[Any] = []  # uniqueness is the service's to explain


class AgentSerializer(serializers.ModelSerializer[Agent]):
    server = SeenField(Server, required=False, allow_null=True)

    class Meta:
        model = Agent
        fields = [
            *_stamps, "name", "kind", "spiffe_id", "issuer", "client_id", "server", "environment", "owner", "team",
            "description", "confidential", "confidential_because", "standing", "certified_until",
        ]  # fmt: skip
        read_only_fields = [*_stamps, "confidential_because", "standing", "certified_until"]
        validators: list[Any] = []
        extra_kwargs: dict[str, Any] = {"spiffe_id": {"validators": []}}


class IssuerSerializer(serializers.ModelSerializer[Issuer]):
    class Meta:
        model = Issuer
        fields = [*_stamps, "name", "kind", "uri", "jwks_uri", "team", "standing"]
        read_only_fields = [*_stamps, "standing"]
        validators: list[Any] = []


class SystemViewSet(CatalogViewSet):
    """Downstream systems."""

    serializer_class = SystemSerializer
    filterset_class = SystemFilter

    def get_queryset(self) -> QuerySet[System]:
        return System.objects.visible_to(self.actor)

    @extend_schema(summary="Register a system", responses={201: SystemSerializer})
    def create(self, request: Request) -> Response:
        system = services.register_system(actor=self.actor, **self.parse(SystemSerializer))
        return answer(system, SystemSerializer(system).data, 201)

    @extend_schema(summary="Change a system", parameters=[IF_MATCH])
    def partial_update(self, request: Request, pk: str | None = None) -> Response:
        facts = self.parse(SystemSerializer, partial=True)
        system = services.update_system(
            actor=self.actor, system=self.get_object(), expected_version=expected_version(request), **facts
        )
        return answer(system, SystemSerializer(system).data)

    @extend_schema(summary="Retire a system", request=ReasonInput)
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str | None = None) -> Response:
        system = services.retire_system(actor=self.actor, system=self.get_object(), **self.parse(ReasonInput))
        return answer(system, SystemSerializer(system).data)


class AgentViewSet(CatalogViewSet):
    """Whatever calls servers."""

    serializer_class = AgentSerializer
    filterset_class = AgentFilter

    def get_queryset(self) -> QuerySet[Agent]:
        return Agent.objects.visible_to(self.actor)

    @extend_schema(summary="Register an agent", responses={201: AgentSerializer})
    def create(self, request: Request) -> Response:
        agent = services.register_agent(actor=self.actor, **self.parse(AgentSerializer))
        return answer(agent, AgentSerializer(agent).data, 201)

    @extend_schema(summary="Change an agent", parameters=[IF_MATCH])
    def partial_update(self, request: Request, pk: str | None = None) -> Response:
        facts = self.parse(AgentSerializer, partial=True)
        agent = services.update_agent(
            actor=self.actor, agent=self.get_object(), expected_version=expected_version(request), **facts
        )
        return answer(agent, AgentSerializer(agent).data)

    @extend_schema(summary="Retire an agent", request=ReasonInput)
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str | None = None) -> Response:
        agent = services.retire_agent(actor=self.actor, agent=self.get_object(), **self.parse(ReasonInput))
        return answer(agent, AgentSerializer(agent).data)


class IssuerViewSet(ReadViewSet):
    """Token issuers and trust domains whose identities are accepted."""

    room = "catalog"
    serializer_class = IssuerSerializer
    filterset_class = IssuerFilter

    def get_queryset(self) -> QuerySet[Issuer]:
        return Issuer.objects.all()

    @extend_schema(summary="Register an issuer", responses={201: IssuerSerializer})
    def create(self, request: Request) -> Response:
        issuer = services.register_issuer(actor=self.actor, **self.parse(IssuerSerializer))
        return answer(issuer, IssuerSerializer(issuer).data, 201)

    @extend_schema(summary="Retire an issuer", request=ReasonInput)
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str | None = None) -> Response:
        issuer = services.retire_issuer(actor=self.actor, issuer=self.get_object(), **self.parse(ReasonInput))
        return answer(issuer, IssuerSerializer(issuer).data)


routes = [
    ("servers", ServerViewSet, "server"),
    ("endpoints", EndpointViewSet, "endpoint"),
    ("tools", ToolViewSet, "tool"),
    ("purposes", PurposeViewSet, "purpose"),
    ("secret-sources", SecretSourceViewSet, "secret-source"),
    ("systems", SystemViewSet, "system"),
    ("agents", AgentViewSet, "agent"),
    ("issuers", IssuerViewSet, "issuer"),
    *succession_api.routes,
    *visibility_api.routes,
]
