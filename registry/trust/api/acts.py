"""Grants and connections, and every act on them."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.catalog.models import Agent, SecretSource, Server, System
from registry.core import clock
from registry.core.api import ReadViewSet, ReasonInput, answer, expected_version
from registry.core.rest import actor_of
from registry.trust import queries, services
from registry.trust.api.schemas import (
    ConnectionSerializer,
    GrantSerializer,
    RelationshipSerializer,
    relationships_json,
)
from registry.trust.filters import ConnectionFilter, GrantFilter
from registry.trust.models import Connection, Grant, seen_by

IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="ETag you worked on; 412 when the record changed since."
)


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


class SourceField(serializers.PrimaryKeyRelatedField[Any]):
    """A secret source of a server that the actor may see; of another one nobody learns whether there is any."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(queryset=SecretSource.objects.all(), **kwargs)

    def get_queryset(self) -> Any:
        seen = Server.objects.visible_to(actor_of(self.context["request"]))
        return SecretSource.objects.filter(server__in=seen, retired_at=None)


class ConnectionInput(serializers.Serializer[Any]):
    server = SeenField(Server)
    system = SeenField(System)
    access = serializers.ChoiceField(Connection.Access.choices)
    scopes = serializers.ListField(child=serializers.CharField(max_length=200), default=list)
    reason = serializers.CharField(max_length=2000)
    valid_until = serializers.DateTimeField(help_text="At most a year ahead, and not past the server's purpose.")
    secret_source = SourceField(
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
    secret_source = SourceField()


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
        now = clock.now()
        rows = queries.relationship_rows(self.filter_queryset(self.get_queryset()), now=now)
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(relationships_json(page or [], now=now))

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
