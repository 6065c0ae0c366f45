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
from registry.accounts.permissions import SCOPES
from registry.accounts.queries import tokens_visible_to
from registry.core.api import ReadViewSet, answer

_stamps = ["id", "version", "created_at", "updated_at"]


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    scopes = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = ApiToken
        fields = [*_stamps, "user", "name", "prefix", "scopes", "expires_at", "last_used_at", "revoked_at"]
        read_only_fields = fields


class NewTokenSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)
    scopes = serializers.ListField(
        child=serializers.CharField(),
        allow_empty=False,
        help_text=f"`read` and `write` stand for that scope in every room; else one of: {', '.join(SCOPES)}.",
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
        response = answer(token, {**TokenSerializer(token).data, "secret": secret}, status=201)
        response["Cache-Control"] = "no-store"
        return response

    @extend_schema(summary="Revoke a token", tags=["accounts"], request=None, responses={200: TokenSerializer})
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        token = services.revoke_token(actor=self.actor, token=self.get_object())
        return answer(token, TokenSerializer(token).data)


routes: list[Any] = [("tokens", TokenViewSet, "token")]
