"""People and teams as REST resources."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounts import services
from registry.accounts.filters import TeamFilter, UserFilter
from registry.accounts.models import Role, Team, User
from registry.accounts.queries import people_visible_to, teams_visible_to
from registry.core.api import ReadViewSet, answer

_stamps = ["id", "version", "created_at", "updated_at"]


class UserSerializer(serializers.ModelSerializer[User]):
    roles = serializers.ListField(child=serializers.ChoiceField(Role.choices), read_only=True)
    teams: Any = serializers.SlugRelatedField(slug_field="slug", many=True, read_only=True)

    class Meta:
        model = User
        fields = [*_stamps, "email", "name", "roles", "teams", "is_active", "left_at", "manager"]
        read_only_fields = fields


class RolesGiven(serializers.Serializer[Any]):
    roles = serializers.ListField(child=serializers.ChoiceField(Role.choices))


class TeamSerializer(serializers.ModelSerializer[Team]):
    members: Any = serializers.PrimaryKeyRelatedField(many=True, read_only=True)

    class Meta:
        model = Team
        fields = [*_stamps, "name", "slug", "lead", "members"]
        read_only_fields = fields


@extend_schema_view(
    list=extend_schema(summary="People", tags=["accounts"]),
    retrieve=extend_schema(summary="One person", tags=["accounts"]),
)
class UserViewSet(ReadViewSet):
    room = "accounts"
    queryset = User.objects.none()
    serializer_class = UserSerializer
    filterset_class = UserFilter

    def get_queryset(self) -> QuerySet[User]:
        return people_visible_to(self.actor).prefetch_related("teams")

    @extend_schema(
        summary="Give exactly these roles",
        description="Whoever would oversee others, or no longer, needs a second person: then the answer shows the roles"
        " as they were, and a role proposal waits.",
        tags=["accounts"],
        request=RolesGiven,
        responses={200: UserSerializer},
    )
    @action(detail=True, methods=["put"])
    def roles(self, request: Request, pk: str) -> Response:
        user = services.set_roles(actor=self.actor, user=self.get_object(), **self.parse(RolesGiven))
        return answer(user, UserSerializer(user).data)


@extend_schema_view(
    list=extend_schema(summary="Teams", tags=["accounts"]),
    retrieve=extend_schema(summary="One team with its members", tags=["accounts"]),
)
class TeamViewSet(ReadViewSet):
    room = "accounts"
    queryset = Team.objects.none()
    serializer_class = TeamSerializer
    filterset_class = TeamFilter

    def get_queryset(self) -> QuerySet[Team]:
        return teams_visible_to(self.actor).prefetch_related("members")


routes: list[Any] = [
    ("users", UserViewSet, "user"),
    ("teams", TeamViewSet, "team"),
]
