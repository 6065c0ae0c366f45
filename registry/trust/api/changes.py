"""What changed since, for those who keep a copy of the trust graph."""

from typing import Any

from django.urls import path
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from registry.core import clock
from registry.core.filtering import refuse_unknown
from registry.core.pagination import page_limit
from registry.core.rest import actor_of
from registry.trust import queries
from registry.trust.api.asking import ANSWER_HEADERS, IF_NONE_MATCH, PAGING, entity_tag, given_once, unchanged
from registry.trust.api.schemas import relationships_json
from registry.trust.queries.feed import KINDS, Happened, beginning, changes_since

CHANGE_KINDS = [(kind, kind) for kind in KINDS]
OPERATIONS = ["created", "changed", "appeared", "gone"]


class HappenedSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(CHANGE_KINDS)
    id = serializers.UUIDField()
    operation = serializers.ChoiceField(
        OPERATIONS,
        help_text="`appeared`: it has come into your sight, read its relationships. `gone`: it has left your sight, "
        "and everything that hangs on it with it. What ended or retired is `changed`.",
    )
    at = serializers.DateTimeField(help_text="Of its last change.")
    state = serializers.DictField(
        allow_null=True,
        help_text="How it stands now, not how it stood then; null when it is gone. Grants and connections look as in "
        "the list of relationships.",
    )


class ChangesSerializer(serializers.Serializer[Any]):
    results = HappenedSerializer(many=True)
    next = serializers.URLField(help_text="Where to go on, now if there is `more`, else later. Keep it.")
    more = serializers.BooleanField()
    data_version = serializers.CharField(help_text="Of the data when this was asked; the same as in every answer.")


class ChangesView(APIView):
    """To keep a copy: take an export, which names the cursor it belongs to, then follow this feed from there."""

    room = "trust"

    @extend_schema(
        summary="What changed since a cursor; without one, the cursor of this moment",
        description="Exact while others write: nothing is left out, nothing told twice. 410 when what you may see, or "
        "the database itself, is no longer what the cursor was made for: then take a fresh copy.",
        tags=["trust"],
        parameters=[
            *PAGING[:1],
            OpenApiParameter("cursor", str, description="From `next`, or from an export."),
            IF_NONE_MATCH,
        ],
        responses={
            200: ChangesSerializer,
            304: OpenApiResponse(description="Nothing changed; the cursor you have still holds."),
        },
    )
    def get(self, request: Request) -> Response:
        refuse_unknown(request.query_params, {"cursor", "limit"})
        given_once(request.query_params)
        actor, cursor = actor_of(request), request.query_params.get("cursor", "")
        limit = page_limit(request.query_params.get("limit", ""))
        # Asked before the feed is read: what comes in between is told now, and makes the next answer another one.
        questions = queries.ask(actor)
        headers = {"ETag": entity_tag(request, questions), **ANSWER_HEADERS}
        if unchanged(request, headers["ETag"]):
            return Response(status=304, headers=headers)
        told = changes_since(actor, cursor, limit=limit) if cursor else None
        further = request.query_params.copy()
        further["cursor"] = told.cursor if told else beginning(actor)
        address = request.build_absolute_uri(f"{request.path}?{further.urlencode()}")
        body = {
            "results": self._rows(told.changes) if told else [],
            "next": address,
            "more": told.more if told else False,
            "data_version": questions.data_version,
        }
        return Response(body, headers={**headers, "Link": f'<{address}>; rel="next"'})

    def _rows(self, changes: list[Happened]) -> list[dict[str, Any]]:
        relationships = [each.state for each in changes if each.state and each.kind in ("grant", "connection")]
        states = {row["id"]: row for row in relationships_json(relationships, now=clock.now())}
        return [
            {
                "kind": each.kind,
                "id": each.id,
                "operation": each.operation,
                "at": each.at,
                "state": states.get(each.id, each.state),
            }
            for each in changes
        ]


paths = [path("trust/changes", ChangesView.as_view(), name="trust-changes")]
