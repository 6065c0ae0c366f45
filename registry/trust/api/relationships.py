"""Grants and connections as one list, newest first."""

from contextlib import nullcontext
from urllib.parse import urlencode
from uuid import UUID

from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from registry.core import clock
from registry.core.errors import Malformed
from registry.core.filtering import refuse_unknown
from registry.core.pagination import page_limit
from registry.core.rest import actor_of
from registry.trust import queries
from registry.trust.api.asking import (
    ANSWER_HEADERS,
    AS_OF,
    IF_NONE_MATCH,
    earlier_than_records,
    entity_tag,
    read_instant,
    unchanged,
)
from registry.trust.api.schemas import AnswerSerializer, RelationshipSerializer, relationships_json
from registry.trust.filters import AnyGrantFilter, ConnectionFilter, filtered

PAGING = ("limit", "before", "after")
FILTERS = {*AnyGrantFilter.base_filters, *ConnectionFilter.base_filters}


class RelationshipListSerializer(AnswerSerializer):
    results = RelationshipSerializer(many=True)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


def filter_parameters() -> list[OpenApiParameter]:
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


class RelationshipsView(APIView):
    room = "trust"

    @extend_schema(
        summary="Grants and connections as one list, newest first",
        tags=["trust"],
        parameters=[
            *filter_parameters(),
            AS_OF,
            OpenApiParameter("limit", int, description="Rows per page, at most 200."),
            OpenApiParameter("before", OpenApiTypes.UUID, description="Where an older page starts; see `next`."),
            OpenApiParameter("after", OpenApiTypes.UUID, description="Where a newer page starts; see `previous`."),
            IF_NONE_MATCH,
        ],
        responses={
            200: RelationshipListSerializer,
            304: OpenApiResponse(description="The page you have still holds."),
        },
    )
    def get(self, request: Request) -> Response:
        asked = request.query_params
        refuse_unknown(asked, {*FILTERS, *PAGING, "as_of"})
        as_of = read_instant(asked["as_of"], "as_of") if asked.get("as_of") else None
        questions = queries.ask(actor_of(request), as_of=as_of)
        tag = entity_tag(request, questions)
        headers = {"ETag": tag, **ANSWER_HEADERS}
        if unchanged(request, tag):
            return Response(status=304, headers=headers)
        note = earlier_than_records(questions)
        # Filters of validity and certification judge by the clock.
        with clock.at(as_of) if as_of else nullcontext():
            sides = filtered(questions.actor, asked)
            page = queries.relationship_page(
                **({"grants": None, "connections": None} if note else sides),
                now=questions.as_of,
                before=self._cursor("before"),
                after=self._cursor("after"),
                limit=page_limit(asked.get("limit", "")),
                as_of=as_of,
            )
        body = {
            "results": relationships_json(page.rows, now=questions.as_of),
            "next": self._link("before", page.next),
            "previous": self._link("after", page.previous),
            "as_of": questions.as_of,
            "data_version": questions.data_version,
            "note": note,
        }
        links = [f'<{body[name]}>; rel="{rel}"' for name, rel in (("next", "next"), ("previous", "prev")) if body[name]]
        return Response(body, headers=headers | ({"Link": ", ".join(links)} if links else {}))

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


paths = [path("trust/relationships", RelationshipsView.as_view(), name="trust-relationships")]
