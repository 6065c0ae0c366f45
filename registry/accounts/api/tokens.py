"""API tokens as REST resources."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounts import services
from registry.accounts.filters import TokenFilter
from registry.accounts.models import ApiToken
from registry.accounts.queries import tokens_visible_to
from registry.core.api import ReadViewSet, answer, expected_version

_stamps = ["id", "version", "created_at", "updated_at"]


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    scopes = serializers.ListField(child=serializers.CharField(), read_only=True)
    networks = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = ApiToken
        fields = [
            *_stamps, "user", "name", "purpose", "prefix", "scopes", "networks", "expires_at", "last_used_at",
            "last_address", "rotated_at", "previous_prefix", "previous_until", "previous_used_at", "revoked_at",
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
        child=serializers.CharField(max_length=60), required=False, help_text="Where it may be used; empty: anywhere."
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
    list=extend_schema(summary="Your own tokens", tags=["accounts"]),
    retrieve=extend_schema(summary="One of your tokens", tags=["accounts"]),
)
class TokenViewSet(ReadViewSet):
    """One's own tokens. A token may only hand on scopes that it has itself."""

    room = "accounts"
    replayable = False  # the answer to a POST holds the secret, which is stored nowhere
    queryset = ApiToken.objects.none()
    serializer_class = TokenSerializer
    filterset_class = TokenFilter

    def get_queryset(self) -> QuerySet[ApiToken]:
        return tokens_visible_to(self.actor).filter(user=self.actor.user)

    @extend_schema(
        summary="Create a token; its secret is in this answer only",
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

    @extend_schema(summary="Revoke a token", tags=["accounts"], request=None, responses={200: TokenSerializer})
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        token = services.revoke_token(actor=self.actor, token=self.get_object())
        return answer(token, TokenSerializer(token).data)


routes: list[Any] = [("tokens", TokenViewSet, "token")]
