"""REST resources of trust: grants and connections with every act on them, and who may reach what.

Lists and trust answers come from rows, not from serializers; the serializers describe the schema (and the tests
hold them to it).
"""

from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import QuerySet
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    PolymorphicProxySerializer,
    extend_schema,
    extend_schema_view,
)
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from registry.catalog.models import Agent, DataClass, Environment, SecretSource, Server, System, Tier
from registry.core import clock
from registry.core.api import ReadViewSet, ReasonInput, answer, expected_version
from registry.core.errors import Invalid, Malformed
from registry.core.filtering import refuse_unknown
from registry.core.pagination import page_limit
from registry.core.permissions import require
from registry.core.rest import actor_of
from registry.trust import queries, services
from registry.trust.filters import AnyGrantFilter, ConnectionFilter, GrantFilter, filtered
from registry.trust.models import Connection, Grant, seen_by
from registry.trust.states import Status

IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="ETag you worked on; 412 when the record changed since."
)
STATUS_HELP = (
    "This relationship: active, inside its validity, and signed off. Suspended, expired or lapsed is not certified. "
    "What its two ends are, they say themselves."
)


# --- What a relationship looks like ----------------------------------------------------------------------


class ReferenceSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()


class ServerReferenceSerializer(ReferenceSerializer):
    title = serializers.CharField(allow_blank=True)


class CertifiedAgentSerializer(ReferenceSerializer):
    certified = serializers.BooleanField(help_text="The agent itself: in use, and its own certificate in force.")


class CertifiedServerSerializer(ServerReferenceSerializer):
    certified = serializers.BooleanField(help_text="The server itself: active, and its own certificate in force.")


class RelationshipSerializer(serializers.Serializer[Any]):
    """A grant (agent → server) or a connection (server → system); what does not apply is null or empty."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(["grant", "connection"])
    lineage = serializers.UUIDField(help_text="The same for every version between the same two ends.")
    status = serializers.ChoiceField(Status.choices)
    agent = CertifiedAgentSerializer(allow_null=True)
    server = CertifiedServerSerializer()
    system = ReferenceSerializer(allow_null=True)
    tools = serializers.ListField(child=serializers.CharField())
    all_tools = serializers.BooleanField()
    access = serializers.ChoiceField(Connection.Access.choices, allow_blank=True)
    scopes = serializers.ListField(child=serializers.CharField())
    environment = serializers.ChoiceField(Environment.choices, help_text="Of the server.")
    tier = serializers.ChoiceField(Tier.choices, help_text="Of the server.")
    team = ReferenceSerializer(allow_null=True, help_text="Of the server.")
    valid_until = serializers.DateTimeField()
    certified_until = serializers.DateTimeField(allow_null=True)
    certified = serializers.BooleanField(help_text=STATUS_HELP)


def relationship_json(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `queries.COLUMNS` in the shape of `RelationshipSerializer`."""
    return {
        "id": row["id"],
        "kind": row["kind"],
        "lineage": row["lineage"],
        "status": row["status"],
        "agent": _reference(row, "agent", "certified"),
        "server": _reference(row, "server", "title", "certified"),
        "system": _reference(row, "system"),
        "tools": row["tools"],
        "all_tools": row["all_tools"],
        "access": row["access"],
        "scopes": row["scopes"],
        "environment": row["environment"],
        "tier": row["tier"],
        "team": _reference(row, "team"),
        "valid_until": row["valid_until"],
        "certified_until": row["certified_until"],
        "certified": row["certified"],
    }


def _reference(row: dict[str, Any], name: str, *more: str) -> dict[str, Any] | None:
    if row[f"{name}_id"] is None:
        return None
    return {key: row[f"{name}_{key}"] for key in ("id", "name", *more)}


_DETAILS = [
    "id", "version", "created_at", "updated_at", "kind", "lineage", "supersedes", "status", "status_reason", "reason",
    "valid_until", "certified_until", "certified", "requested_by", "decided_by", "decided_at", "activated_at",
    "ended_at",
]  # fmt: skip


class DetailSerializer(serializers.ModelSerializer[Any]):
    kind = serializers.CharField(read_only=True)
    certified = serializers.SerializerMethodField(help_text=STATUS_HELP)

    def get_certified(self, relationship: Any) -> bool:
        return bool(relationship.certified_at(clock.now()))


class GrantSerializer(DetailSerializer):
    class Meta:
        model = Grant
        fields = [
            *_DETAILS, "agent", "server", "tools", "all_tools", "purpose", "on_behalf_of", "behalf_detail",
            "max_token_lifetime_seconds",
        ]  # fmt: skip
        read_only_fields = fields


class ConnectionSerializer(DetailSerializer):
    class Meta:
        model = Connection
        fields = [*_DETAILS, "server", "system", "access", "scopes", "secret_source"]
        read_only_fields = fields


# --- What acts take --------------------------------------------------------------------------------------


class SeenField(serializers.PrimaryKeyRelatedField[Any]):
    """An agent, server or system by id; one that the actor may not see does not exist."""

    def __init__(self, model: Any, **kwargs: Any) -> None:
        self.model = model
        super().__init__(queryset=model.objects.all(), **kwargs)

    def get_queryset(self) -> QuerySet[Any]:
        return seen_by(actor_of(self.context["request"]), self.model)


class GrantInput(serializers.Serializer[Any]):
    agent = SeenField(Agent)
    server = SeenField(Server)
    tools = serializers.ListField(child=serializers.CharField(max_length=128), default=list)
    all_tools = serializers.BooleanField(
        default=False, help_text="Every tool, also those added later. Never the default; say why in `reason`."
    )
    reason = serializers.CharField(max_length=2000)
    valid_until = serializers.DateTimeField(help_text="At most a year ahead, and not past the server's purpose.")
    on_behalf_of = serializers.ChoiceField(Grant.OnBehalfOf.choices, default=Grant.OnBehalfOf.USERS)
    behalf_detail = serializers.CharField(max_length=200, default="", allow_blank=True)
    max_token_lifetime_seconds = serializers.IntegerField(default=3600)


class ConnectionInput(serializers.Serializer[Any]):
    server = SeenField(Server)
    system = SeenField(System)
    access = serializers.ChoiceField(Connection.Access.choices)
    scopes = serializers.ListField(child=serializers.CharField(max_length=200), default=list)
    reason = serializers.CharField(max_length=2000)
    valid_until = serializers.DateTimeField(help_text="At most a year ahead, and not past the server's purpose.")
    secret_source = serializers.PrimaryKeyRelatedField(
        queryset=SecretSource.objects.filter(retired_at=None),
        required=False,
        allow_null=True,
        help_text="One of the server's; its only one is taken when none is named.",
    )


class ReduceGrantInput(ReasonInput):
    kept_tools = serializers.ListField(child=serializers.CharField(max_length=128))


class ReduceConnectionInput(ReasonInput):
    kept_scopes = serializers.ListField(child=serializers.CharField(max_length=200), required=False)
    access = serializers.ChoiceField(Connection.Access.choices, required=False)


class ConnectionSecretInput(serializers.Serializer[Any]):
    secret_source = serializers.PrimaryKeyRelatedField(queryset=SecretSource.objects.filter(retired_at=None))


# --- Grants and connections ------------------------------------------------------------------------------


def acts(detail: Any) -> Callable[[type[Any]], type[Any]]:
    """Describe the acts both kinds share, answered with the relationship as `detail`."""
    by_reason = {
        "refuse": "Refuse a request",
        "suspend": "Stop it, reversibly",
        "resume": "Give back what was suspended",
        "revoke": "End it for good",
    }
    return extend_schema_view(
        list=extend_schema(responses=RelationshipSerializer(many=True)),
        retrieve=extend_schema(responses=detail),
        approve=extend_schema(
            summary="Approve a request (independent)", parameters=[IF_MATCH], request=None, responses=detail
        ),
        withdraw=extend_schema(
            summary="Withdraw one's own request", parameters=[IF_MATCH], request=None, responses=detail
        ),
        **{
            name: extend_schema(summary=words, parameters=[IF_MATCH], request=ReasonInput, responses=detail)
            for name, words in by_reason.items()
        },
    )


class RelationshipViewSet(ReadViewSet):
    room = "trust"
    detail_serializer: ClassVar[type[serializers.ModelSerializer[Any]]]
    model: ClassVar[type[Any]]

    def get_queryset(self) -> QuerySet[Any]:
        return self.model.objects.visible_to(self.actor)

    def get_serializer_class(self) -> type[serializers.BaseSerializer[Any]]:
        return RelationshipSerializer if self.action == "list" else self.detail_serializer

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        rows = queries.relationship_rows(self.filter_queryset(self.get_queryset()), now=clock.now())
        page = self.paginate_queryset(rows)
        return self.get_paginated_response([relationship_json(row) for row in page])  # type: ignore[union-attr]

    def _answer(self, relationship: Any, code: int = status.HTTP_200_OK) -> Response:
        return answer(relationship, self.detail_serializer(relationship).data, code)

    def _act(self, service: Callable[..., Any], *, name: str = "relationship", **facts: Any) -> Response:
        """One act on the addressed relationship, honouring If-Match, answered with what it has become."""
        thing = self.get_object()
        done = service(actor=self.actor, expected_version=expected_version(self.request), **{name: thing}, **facts)
        return self._answer(done)

    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.withdraw_relationship)

    @action(detail=True, methods=["post"])
    def refuse(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.refuse_relationship, **self.parse(ReasonInput))

    @action(detail=True, methods=["post"])
    def suspend(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.suspend_relationship, **self.parse(ReasonInput))

    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.resume_relationship, **self.parse(ReasonInput))

    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.revoke_relationship, **self.parse(ReasonInput))


@acts(GrantSerializer)
class GrantViewSet(RelationshipViewSet):
    """Agent → server: which tools, for which purpose, on whose behalf, until when."""

    model, detail_serializer, filterset_class = Grant, GrantSerializer, GrantFilter

    @extend_schema(summary="Request a grant", request=GrantInput, responses={201: GrantSerializer})
    def create(self, request: Request) -> Response:
        grant = services.request_grant(actor=self.actor, **self.parse(GrantInput))
        return self._answer(grant, status.HTTP_201_CREATED)

    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.approve_grant, name="grant")

    @extend_schema(
        summary="Keep only some tools; answered with the narrower version",
        parameters=[IF_MATCH],
        request=ReduceGrantInput,
        responses=GrantSerializer,
    )
    @action(detail=True, methods=["post"])
    def reduce(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.reduce_grant, name="grant", **self.parse(ReduceGrantInput))


@acts(ConnectionSerializer)
class ConnectionViewSet(RelationshipViewSet):
    """Server → system: access level, scopes, with which secret source, until when."""

    model, detail_serializer, filterset_class = Connection, ConnectionSerializer, ConnectionFilter

    @extend_schema(summary="Request a connection", request=ConnectionInput, responses={201: ConnectionSerializer})
    def create(self, request: Request) -> Response:
        connection = services.request_connection(actor=self.actor, **self.parse(ConnectionInput))
        return self._answer(connection, status.HTTP_201_CREATED)

    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.approve_connection, name="connection")

    @extend_schema(
        summary="Keep only some scopes, or less access; answered with the narrower version",
        parameters=[IF_MATCH],
        request=ReduceConnectionInput,
        responses=ConnectionSerializer,
    )
    @action(detail=True, methods=["post"])
    def reduce(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.reduce_connection, name="connection", **self.parse(ReduceConnectionInput))

    @extend_schema(
        summary="Name the secret source it uses",
        parameters=[IF_MATCH],
        request=ConnectionSecretInput,
        responses=ConnectionSerializer,
    )
    @action(detail=True, methods=["put"], url_path="secret-source")
    def secret_source(self, request: Request, pk: str | None = None) -> Response:
        return self._act(services.connect_secret_source, name="connection", **self.parse(ConnectionSecretInput))


# --- Who may reach what ----------------------------------------------------------------------------------


class AnswerSerializer(serializers.Serializer[Any]):
    """What every trust answer carries."""

    as_of = serializers.DateTimeField(help_text="The instant at which validity was judged.")
    data_version = serializers.CharField(
        help_text="Snapshot of the database the answer is at least as new as, `oldest running:next:still running`. "
        "Equal versions saw the same data; the middle number never goes down, and unrelated writes raise it too."
    )


class PathServerSerializer(ServerReferenceSerializer):
    tier = serializers.ChoiceField(Tier.choices)


class StepSerializer(serializers.Serializer[Any]):
    """One way through a server. `server` is null (and only `access` and `words` follow) when it may not be named."""

    server = PathServerSerializer(allow_null=True)
    words = serializers.CharField(required=False)
    grant = serializers.UUIDField(required=False)
    connection = serializers.UUIDField(required=False)
    tools = serializers.ListField(child=serializers.CharField(), required=False)
    all_tools = serializers.BooleanField(required=False)
    access = serializers.ChoiceField(Connection.Access.choices)
    scopes = serializers.ListField(child=serializers.CharField(), required=False)
    on_behalf_of = serializers.ChoiceField(Grant.OnBehalfOf.choices, required=False)
    behalf_detail = serializers.CharField(required=False, allow_blank=True)
    valid_until = serializers.DateTimeField(required=False)
    certified = serializers.BooleanField(required=False, help_text="Server, grant and connection are all certified.")


class ReachedSystemSerializer(ReferenceSerializer):
    kind = serializers.ChoiceField(System.Kind.choices)
    environment = serializers.ChoiceField(Environment.choices)
    data_class = serializers.ChoiceField(DataClass.choices)
    access = serializers.ChoiceField(Connection.Access.choices, help_text="The highest over all ways.")
    certified = serializers.BooleanField(help_text="At least one way is certified throughout.")
    through = StepSerializer(many=True)


class CallableServerSerializer(PathServerSerializer):
    environment = serializers.ChoiceField(Environment.choices)
    grant = serializers.UUIDField()
    tools = serializers.ListField(child=serializers.CharField())
    all_tools = serializers.BooleanField()
    on_behalf_of = serializers.ChoiceField(Grant.OnBehalfOf.choices)
    behalf_detail = serializers.CharField(allow_blank=True)
    valid_until = serializers.DateTimeField()
    certified = serializers.BooleanField()


class AgentReferenceSerializer(ReferenceSerializer):
    spiffe_id = serializers.CharField(allow_blank=True)
    client_id = serializers.CharField(allow_blank=True)


class SystemReferenceSerializer(ReferenceSerializer):
    data_class = serializers.ChoiceField(DataClass.choices)


class HiddenReachSerializer(serializers.Serializer[Any]):
    systems = serializers.IntegerField()
    servers = serializers.IntegerField()


class ReachSerializer(AnswerSerializer):
    agent = AgentReferenceSerializer()
    systems = ReachedSystemSerializer(many=True)
    servers = CallableServerSerializer(many=True)
    hidden = HiddenReachSerializer(help_text="How much more there is that you may not see.")


class ReachingAgentSerializer(AgentReferenceSerializer):
    kind = serializers.ChoiceField(Agent.Kind.choices)
    environment = serializers.ChoiceField(Environment.choices)
    owner = serializers.CharField(allow_null=True)
    access = serializers.ChoiceField(Connection.Access.choices)
    certified = serializers.BooleanField()
    through = StepSerializer(many=True)


class ConnectedServerSerializer(PathServerSerializer):
    environment = serializers.ChoiceField(Environment.choices)
    connection = serializers.UUIDField()
    access = serializers.ChoiceField(Connection.Access.choices)
    scopes = serializers.ListField(child=serializers.CharField())
    valid_until = serializers.DateTimeField()
    certified = serializers.BooleanField()


class HiddenAccessSerializer(serializers.Serializer[Any]):
    agents = serializers.IntegerField()
    servers = serializers.IntegerField()


class AccessSerializer(AnswerSerializer):
    system = SystemReferenceSerializer()
    agents = ReachingAgentSerializer(many=True)
    servers = ConnectedServerSerializer(many=True)
    hidden = HiddenAccessSerializer()


class LosingAgentSerializer(ReferenceSerializer):
    owner = serializers.CharField(allow_null=True)
    on_behalf_of = serializers.ChoiceField(Grant.OnBehalfOf.choices)
    behalf_detail = serializers.CharField(allow_blank=True)
    all_tools = serializers.BooleanField()
    tools = serializers.ListField(child=serializers.CharField())
    loses = SystemReferenceSerializer(many=True, help_text="Systems it no longer reaches when this server is cut.")
    keeps = SystemReferenceSerializer(many=True, help_text="Systems it still reaches another way.")
    hidden_losses = serializers.IntegerField()


class TouchedSystemSerializer(ReferenceSerializer):
    kind = serializers.ChoiceField(System.Kind.choices)
    environment = serializers.ChoiceField(Environment.choices)
    data_class = serializers.ChoiceField(DataClass.choices)
    connection = serializers.UUIDField()
    access = serializers.ChoiceField(Connection.Access.choices)
    scopes = serializers.ListField(child=serializers.CharField())
    certified = serializers.BooleanField()
    sole_path = serializers.BooleanField(help_text="No other server reaches it.")


class ConcernedPersonSerializer(ReferenceSerializer):
    email = serializers.EmailField()
    because = serializers.ListField(child=serializers.CharField())


class DataClassCountSerializer(serializers.Serializer[Any]):
    data_class = serializers.ChoiceField(DataClass.choices)
    systems = serializers.IntegerField()


class ServerBlastCountsSerializer(serializers.Serializer[Any]):
    agents = serializers.IntegerField()
    systems = serializers.IntegerField()
    people = serializers.IntegerField()


class ServerBlastHiddenSerializer(serializers.Serializer[Any]):
    agents = serializers.IntegerField()
    systems = serializers.IntegerField()


class AgentBlastCountsSerializer(serializers.Serializer[Any]):
    servers = serializers.IntegerField()
    systems = serializers.IntegerField()
    people = serializers.IntegerField()


class ServerBlastRadiusSerializer(AnswerSerializer):
    """Of a server: who may call it and what each would lose, what it acts on, whom that concerns."""

    server = PathServerSerializer()
    agents = LosingAgentSerializer(many=True)
    systems = TouchedSystemSerializer(many=True)
    people = ConcernedPersonSerializer(many=True)
    data_classes = DataClassCountSerializer(many=True)
    counts = ServerBlastCountsSerializer(help_text="With what you may not see.")
    hidden = ServerBlastHiddenSerializer()


class AgentBlastRadiusSerializer(ReachSerializer):
    """Of an agent: everything it may reach, and whom that concerns."""

    people = ConcernedPersonSerializer(many=True)
    data_classes = DataClassCountSerializer(many=True)
    counts = AgentBlastCountsSerializer(help_text="With what you may not see.")


BLAST_RADIUS = PolymorphicProxySerializer(
    component_name="BlastRadius",
    serializers=[ServerBlastRadiusSerializer, AgentBlastRadiusSerializer],
    resource_type_field_name=None,
)


def _one_of(*names: str) -> list[OpenApiParameter]:
    words = {
        "agent": "Id, SPIFFE id or name of an agent.",
        "server": "Id or name of a server.",
        "system": "Id of a system, or its name where no other environment has one of that name.",
    }
    required = len(names) == 1
    return [OpenApiParameter(name, str, required=required, description=words[name]) for name in names]


class TrustView(APIView):
    room = "trust"

    def subject(self, request: Request, **models: Any) -> tuple[str, Any]:
        """The one thing the question is about. Raises `Invalid` when it is not named, or more than one is."""
        given = {name: request.query_params[name].strip() for name in models if request.query_params.get(name)}
        if len(given) != 1:
            names = " or ".join(models)
            raise Invalid(fields={next(iter(models)): [f"Name one {names}."]})
        ((name, text),) = given.items()
        return name, queries.find(actor_of(request), models[name], text, field=name)


class ReachView(TrustView):
    @extend_schema(
        summary="What may this agent reach", tags=["trust"], parameters=_one_of("agent"), responses=ReachSerializer
    )
    def get(self, request: Request) -> Response:
        _name, agent = self.subject(request, agent=Agent)
        return Response(queries.reach(actor_of(request), agent))


class AccessView(TrustView):
    @extend_schema(
        summary="Who reaches this system", tags=["trust"], parameters=_one_of("system"), responses=AccessSerializer
    )
    def get(self, request: Request) -> Response:
        _name, system = self.subject(request, system=System)
        return Response(queries.access(actor_of(request), system))


class BlastRadiusView(TrustView):
    @extend_schema(
        summary="What is touched when this server or agent misbehaves or is cut",
        tags=["trust"],
        parameters=_one_of("server", "agent"),
        responses=BLAST_RADIUS,
    )
    def get(self, request: Request) -> Response:
        name, thing = self.subject(request, server=Server, agent=Agent)
        question = queries.blast_radius if name == "server" else queries.agent_blast_radius
        return Response(question(actor_of(request), thing))


class RelationshipListSerializer(AnswerSerializer):
    results = RelationshipSerializer(many=True)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


def _filter_parameters() -> list[OpenApiParameter]:
    """Both filter sets as query parameters: they declare the same names."""
    found = []
    for name, filter_ in AnyGrantFilter.base_filters.items():
        choices = [value for value, _word in filter_.extra.get("choices", ())]
        found.append(
            OpenApiParameter(
                name,
                OpenApiTypes.BOOL if name == "certified" else OpenApiTypes.STR,
                description=str(filter_.label),
                enum=choices or None,
                many=bool(choices) or name == "team",
            )
        )
    return found


PAGING = ("limit", "before", "after")


class RelationshipsView(TrustView):
    @extend_schema(
        summary="Grants and connections as one list, newest first",
        tags=["trust"],
        parameters=[
            *_filter_parameters(),
            OpenApiParameter("limit", int, description="Rows per page, at most 200."),
            OpenApiParameter("before", OpenApiTypes.UUID, description="Where an older page starts; see `next`."),
            OpenApiParameter("after", OpenApiTypes.UUID, description="Where a newer page starts; see `previous`."),
        ],
        responses=RelationshipListSerializer,
    )
    def get(self, request: Request) -> Response:
        require(actor_of(request), "trust.view")
        now = clock.now()
        version = queries.data_version()
        refuse_unknown(request.query_params, {*AnyGrantFilter.base_filters, *ConnectionFilter.base_filters, *PAGING})
        sides = filtered(actor_of(request), request.query_params)
        page = queries.relationship_page(
            **sides,
            now=now,
            before=self._cursor("before"),
            after=self._cursor("after"),
            limit=page_limit(request.query_params.get("limit", "")),
        )
        body = {
            "results": [relationship_json(row) for row in page.rows],
            "next": self._link("before", page.next),
            "previous": self._link("after", page.previous),
            "as_of": now,
            "data_version": version,
        }
        links = [f'<{body[name]}>; rel="{rel}"' for name, rel in (("next", "next"), ("previous", "prev")) if body[name]]
        return Response(body, headers={"Link": ", ".join(links)} if links else None)

    def _cursor(self, name: str) -> UUID | None:
        value = self.request.query_params.get(name)
        try:
            return UUID(value) if value else None
        except ValueError as error:
            raise Malformed("This page link is damaged. Start again from the first page.") from error

    def _link(self, name: str, cursor: UUID | None) -> str | None:
        if cursor is None:
            return None
        query = [(key, value) for key, values in self.request.query_params.lists() for value in values]
        kept = [(key, value) for key, value in query if key not in ("before", "after")]
        return self.request.build_absolute_uri(f"{self.request.path}?{urlencode([*kept, (name, str(cursor))])}")


routes = [
    ("grants", GrantViewSet, "grant"),
    ("connections", ConnectionViewSet, "connection"),
]
paths = [
    path("trust/relationships", RelationshipsView.as_view(), name="trust-relationships"),
    path("trust/reach", ReachView.as_view(), name="trust-reach"),
    path("trust/access", AccessView.as_view(), name="trust-access"),
    path("trust/blast-radius", BlastRadiusView.as_view(), name="trust-blast-radius"),
]
