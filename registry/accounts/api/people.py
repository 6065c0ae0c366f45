"""People and teams as REST resources."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounts import services
from registry.accounts.api.powers import RoleProposalSerializer
from registry.accounts.filters import TeamFilter, UserFilter
from registry.accounts.models import Role, Team, User
from registry.accounts.queries import people_visible_to, teams_visible_to, waiting_proposal
from registry.core.api import IF_MATCH, ReadViewSet, answer, expected_version

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


class PersonGiven(RolesGiven):
    email = serializers.EmailField()
    name = serializers.CharField(max_length=120)
    roles = serializers.ListField(child=serializers.ChoiceField(Role.choices), default=list)
    password = serializers.CharField(
        max_length=200,
        required=False,
        write_only=True,
        trim_whitespace=False,
        help_text="A first one, which they change. Without it they sign in with the identity provider only.",
    )


class TeamSerializer(serializers.ModelSerializer[Team]):
    members: Any = serializers.PrimaryKeyRelatedField(many=True, read_only=True)

    class Meta:
        model = Team
        fields = [*_stamps, "name", "slug", "lead", "members"]
        read_only_fields = fields


class TeamGiven(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)
    slug = serializers.SlugField(max_length=60)
    lead = serializers.PrimaryKeyRelatedField(
        queryset=User.objects.filter(is_active=True), required=False, allow_null=True
    )


class TeamChanges(serializers.Serializer[Any]):
    lead = serializers.PrimaryKeyRelatedField(
        queryset=User.objects.filter(is_active=True), required=False, allow_null=True
    )
    members = serializers.PrimaryKeyRelatedField(queryset=User.objects.all(), many=True, required=False)


@extend_schema_view(
    list=extend_schema(summary="People", tags=["accounts"]),
    retrieve=extend_schema(summary="One person", tags=["accounts"]),
)
class UserViewSet(ReadViewSet):
    """People. Nobody is ever deleted: whoever leaves is deactivated, and may come back."""

    room = "accounts"
    queryset = User.objects.none()
    serializer_class = UserSerializer
    filterset_class = UserFilter

    def get_queryset(self) -> QuerySet[User]:
        return people_visible_to(self.actor).prefetch_related("teams")

    @extend_schema(
        summary="Give exactly these roles",
        description="Whoever would oversee others, or no longer, needs a second person: then nothing changes yet, and "
        "the answer is 202 with the proposal that waits for `POST /role-proposals/{id}/confirm` by somebody else.",
        tags=["accounts"],
        request=RolesGiven,
        responses={200: UserSerializer, 202: RoleProposalSerializer},
    )
    @action(detail=True, methods=["put"])
    def roles(self, request: Request, pk: str) -> Response:
        facts = self.parse(RolesGiven)
        user = services.set_roles(actor=self.actor, user=self.get_object(), **facts)
        # The act is allowed to administrators only, who see every proposal.
        proposal = waiting_proposal(self.actor, user)
        if proposal is not None and set(proposal.roles) == set(facts["roles"]):
            return answer(proposal, RoleProposalSerializer(proposal).data, 202)
        return answer(user, UserSerializer(user).data)

    @extend_schema(
        summary="Add somebody",
        description="Roles that oversee others wait for a second person: the answer shows those they have already, "
        "`GET /role-proposals?user=` the others.",
        tags=["accounts"],
        request=PersonGiven,
        responses={201: UserSerializer, 409: OpenApiResponse(description="There is somebody with this address.")},
    )
    def create(self, request: Request) -> Response:
        user = services.create_user(actor=self.actor, **self.parse(PersonGiven))
        return answer(user, UserSerializer(user).data, 201)

    def _set_active(self, active: bool) -> Response:
        user = services.set_active(
            actor=self.actor, user=self.get_object(), active=active, expected_version=expected_version(self.request)
        )
        return answer(user, UserSerializer(user).data)

    @extend_schema(
        summary="Somebody left",
        description="Their sessions and tokens end at once; nothing of theirs is deleted, and what they own is offered "
        "to others. Saying it again changes nothing.",
        tags=["accounts"],
        request=None,
        parameters=[IF_MATCH],
        responses={200: UserSerializer, 409: OpenApiResponse(description="It is you.")},
    )
    @action(detail=True, methods=["post"])
    def deactivate(self, request: Request, pk: str) -> Response:
        return self._set_active(False)

    @extend_schema(
        summary="Somebody came back",
        tags=["accounts"],
        request=None,
        parameters=[IF_MATCH],
        responses={200: UserSerializer},
    )
    @action(detail=True, methods=["post"])
    def reactivate(self, request: Request, pk: str) -> Response:
        return self._set_active(True)


@extend_schema_view(
    list=extend_schema(summary="Teams", tags=["accounts"]),
    retrieve=extend_schema(summary="One team with its members", tags=["accounts"]),
)
class TeamViewSet(ReadViewSet):
    """Teams. Who belongs to one that the directory keeps is changed there."""

    room = "accounts"
    queryset = Team.objects.none()
    serializer_class = TeamSerializer
    filterset_class = TeamFilter

    def get_queryset(self) -> QuerySet[Team]:
        return teams_visible_to(self.actor).prefetch_related("members")

    def _answer(self, team: Team, status: int = 200) -> Response:
        return answer(team, TeamSerializer(team).data, status)

    @extend_schema(
        summary="Create a team",
        tags=["accounts"],
        request=TeamGiven,
        responses={201: TeamSerializer, 409: OpenApiResponse(description="Its name or slug is in use.")},
    )
    def create(self, request: Request) -> Response:
        return self._answer(services.create_team(actor=self.actor, **self.parse(TeamGiven)), 201)

    @extend_schema(
        summary="Change its lead or its members",
        description="What is not sent stays; `members` are all of them.",
        tags=["accounts"],
        request=TeamChanges,
        parameters=[IF_MATCH],
        responses={200: TeamSerializer, 409: OpenApiResponse(description="The directory says who belongs to it.")},
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        team = self.get_object()
        facts = {"lead": team.lead, "members": team.members.all()} | self.parse(TeamChanges)
        services.set_team(actor=self.actor, team=team, expected_version=expected_version(request), **facts)
        return self._answer(self.get_queryset().get(pk=team.pk))


routes: list[Any] = [
    ("users", UserViewSet, "user"),
    ("teams", TeamViewSet, "team"),
]
