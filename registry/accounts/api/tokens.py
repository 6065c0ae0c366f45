"""API tokens as REST resources."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounts import services
from registry.accounts.filters import TokenApiFilter
from registry.accounts.models import ApiToken
from registry.accounts.queries import tokens_visible_to
from registry.audit.services import record_access
from registry.core.api import IF_MATCH, ReadViewSet, answer, expected_version
from registry.core.permissions import require

_stamps = ["id", "version", "created_at", "updated_at"]


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    scopes = serializers.ListField(child=serializers.CharField(), read_only=True)
    networks = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = ApiToken
        fields = [
            *_stamps, "user", "name", "purpose", "prefix", "scopes", "networks", "expires_at", "last_used_at",
            "last_address", "parent", "rotated_at", "previous_prefix", "previous_until", "previous_used_at",
            "revoked_at",
        ]  # fmt: skip
        read_only_fields = fields


class NewTokenSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)
    scopes = serializers.ListField(
        child=serializers.CharField(),
        allow_empty=False,
        help_text="Such as `catalog.servers:read`, `trust:write` for a whole room, or `read` for every room.",
    )
    days = serializers.IntegerField(min_value=1, max_value=services.MAX_TOKEN_DAYS, default=90)
    purpose = serializers.CharField(max_length=500, required=False, allow_blank=True)
    networks = serializers.ListField(
        child=serializers.CharField(max_length=60),
        required=False,
        help_text="Where it may be used; empty: anywhere, or where the token that makes it may be used.",
    )


class TokenChanges(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120, required=False)
    purpose = serializers.CharField(max_length=500, required=False, allow_blank=True)
    scopes = serializers.ListField(
        child=serializers.CharField(), required=False, allow_empty=False, help_text="Only fewer than it has."
    )
    networks = serializers.ListField(child=serializers.CharField(max_length=60), required=False)


class Rotation(serializers.Serializer[Any]):
    overlap_hours = serializers.IntegerField(
        min_value=0, max_value=services.MAX_OVERLAP_HOURS, default=24, help_text="How long the old secret stays good."
    )
    days = serializers.IntegerField(min_value=1, max_value=services.MAX_TOKEN_DAYS, default=90)


class CreatedTokenSerializer(TokenSerializer):
    secret = serializers.CharField(read_only=True, help_text="Shown only in this answer.")

    class Meta(TokenSerializer.Meta):
        fields = [*TokenSerializer.Meta.fields, "secret"]
        read_only_fields = fields


@extend_schema_view(
    list=extend_schema(
        summary="Your own tokens, or everybody's",
        description="`of=all`, alone or with `user`, is for security and administrators: 403 for everybody else.",
        tags=["accounts"],
    ),
    retrieve=extend_schema(
        summary="One token",
        description="One of your own; security and administrators see everybody's, and that they looked is recorded.",
        tags=["accounts"],
    ),
)
class TokenViewSet(ReadViewSet):
    """One's own tokens; security and administrators see and revoke everybody's, and change nobody else's. What a token
    makes has no more than it, from nowhere else, for no longer, and ends with it."""

    room = "accounts"
    replayable = False  # the answer to a POST holds the secret, which is stored nowhere
    queryset = ApiToken.objects.none()
    serializer_class = TokenSerializer
    filterset_class = TokenApiFilter

    def get_queryset(self) -> QuerySet[ApiToken]:
        tokens = tokens_visible_to(self.actor)
        if self.action != "list":
            return tokens
        if self.request.query_params.get("of") == "all":
            require(self.actor, "accounts.view_all_tokens")
            return tokens
        return tokens.filter(user=self.actor.user)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        token = self.get_object()
        if not self.actor.is_person(token.user_id):
            record_access(actor=self.actor, act="token.viewed", subject=token)
        return answer(token, TokenSerializer(token).data)

    @extend_schema(
        summary="Create a token; its secret is in this answer only",
        description="One with the scope `accounts:provision` ends with its owner's account and role: where the "
        "directory can prove itself as a workload, a service principal is better.",
        tags=["accounts"],
        request=NewTokenSerializer,
        responses={201: CreatedTokenSerializer},
    )
    def create(self, request: Request) -> Response:
        token, secret = services.create_token(actor=self.actor, user=self.actor.user, **self.parse(NewTokenSerializer))
        return self._with_secret(token, secret, 201)

    def _with_secret(self, token: ApiToken, secret: str, status: int) -> Response:
        response = answer(token, {**TokenSerializer(token).data, "secret": secret}, status=status)
        response["Cache-Control"] = "no-store"
        return response

    @extend_schema(
        summary="Say better what it is for, or let it do less",
        tags=["accounts"],
        request=TokenChanges,
        parameters=[IF_MATCH],
        responses={200: TokenSerializer},
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        token = services.edit_token(
            actor=self.actor,
            token=self.get_object(),
            expected_version=expected_version(request),
            **self.parse(TokenChanges),
        )
        return answer(token, TokenSerializer(token).data)

    @extend_schema(
        summary="Give it a new secret; the old one stays good for some hours",
        tags=["accounts"],
        request=Rotation,
        responses={200: CreatedTokenSerializer},
    )
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, pk: str) -> Response:
        token, secret = services.rotate_token(actor=self.actor, token=self.get_object(), **self.parse(Rotation))
        return self._with_secret(token, secret, 200)

    @extend_schema(
        summary="Revoke a token",
        description="One's own; security and administrators revoke anybody's. What it made ends with it.",
        tags=["accounts"],
        request=None,
        responses={200: TokenSerializer, 409: OpenApiResponse(description="It is revoked already.")},
    )
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        token = services.revoke_token(actor=self.actor, token=self.get_object())
        return answer(token, TokenSerializer(token).data)


routes: list[Any] = [("tokens", TokenViewSet, "token")]
