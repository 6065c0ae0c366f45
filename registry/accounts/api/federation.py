"""Which group gives which role, as a REST resource."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounts import services
from registry.accounts.filters import GroupRoleFilter
from registry.accounts.models import GroupRole, Role
from registry.accounts.queries import group_roles_visible_to
from registry.core.api import ReadViewSet, answer, expected_version
from registry.core.permissions import require


class GroupRoleSerializer(serializers.ModelSerializer[GroupRole]):
    class Meta:
        model = GroupRole
        fields = ["id", "version", "created_at", "updated_at", "provider", "group", "role", "state", "proposed_by"]
        read_only_fields = fields


class NewGroupRoleSerializer(serializers.Serializer[Any]):
    provider = serializers.CharField(
        max_length=30,
        required=False,
        allow_blank=True,
        help_text="Name of a configured provider, `scim` for the directory, or empty for all of them.",
    )
    group = serializers.CharField(max_length=255, help_text="Exactly as it is sent.")
    role = serializers.ChoiceField(choices=Role.choices)


@extend_schema_view(
    list=extend_schema(summary="Which group gives which role", tags=["accounts"]),
    retrieve=extend_schema(summary="One group's role", tags=["accounts"]),
)
class GroupRoleViewSet(ReadViewSet):
    """Changes take effect at once for everybody whose groups are known, for others at their next sign-in.

    A role that oversees others is proposed first (`state`), and confirmed or refused by a second person.
    """

    room = "accounts"
    queryset = GroupRole.objects.none()
    serializer_class = GroupRoleSerializer
    filterset_class = GroupRoleFilter

    def get_queryset(self) -> QuerySet[GroupRole]:
        require(self.actor, "accounts.view_group_roles")
        return group_roles_visible_to(self.actor)

    @extend_schema(
        summary="Let a group give a role",
        tags=["accounts"],
        request=NewGroupRoleSerializer,
        responses={201: GroupRoleSerializer},
    )
    def create(self, request: Request) -> Response:
        mapping = services.map_group(actor=self.actor, **self.parse(NewGroupRoleSerializer))
        return answer(mapping, GroupRoleSerializer(mapping).data, status=201)

    @extend_schema(
        summary="Let a group no longer give a role",
        description="200: proposed, and gone once a second person confirms it; 204: gone.",
        tags=["accounts"],
        request=None,
        responses={200: GroupRoleSerializer, 204: None},
    )
    def destroy(self, request: Request, pk: str) -> Response:
        return self._left(services.unmap_group(actor=self.actor, mapping=self.get_object()))

    def _left(self, mapping: GroupRole | None) -> Response:
        return Response(status=204) if mapping is None else answer(mapping, GroupRoleSerializer(mapping).data)

    def _decide(self, request: Request, confirm: bool) -> Response:
        return self._left(
            services.decide_group_role(
                actor=self.actor, mapping=self.get_object(), confirm=confirm, expected_version=expected_version(request)
            )
        )

    @extend_schema(
        summary="Confirm what was proposed",
        description="200: the group gives the role; 204: it no longer does.",
        tags=["accounts"],
        request=None,
        responses={200: GroupRoleSerializer, 204: None},
    )
    @action(detail=True, methods=["post"])
    def confirm(self, request: Request, pk: str) -> Response:
        return self._decide(request, True)

    @extend_schema(
        summary="Refuse or withdraw what was proposed",
        description="200: the group gives the role still; 204: it does not.",
        tags=["accounts"],
        request=None,
        responses={200: GroupRoleSerializer, 204: None},
    )
    @action(detail=True, methods=["post"])
    def refuse(self, request: Request, pk: str) -> Response:
        return self._decide(request, False)


routes: list[Any] = [("group-roles", GroupRoleViewSet, "group-role")]
