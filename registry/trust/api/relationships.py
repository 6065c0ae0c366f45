"""Grants and connections as one list, newest first."""

from contextlib import nullcontext
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.urls import path, reverse
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
    BASIS,
    IF_NONE_MATCH,
    earlier_than_records,
    entity_tag,
    given_once,
    read_basis,
    read_instant,
    unchanged,
)
from registry.trust.api.naming import Names, ends_of
from registry.trust.api.schemas import (
    SIGHTINGS_HELP,
    AnswerSerializer,
    RelationshipSerializer,
    SightingSerializer,
    counts,
    hidden,
    relationships_json,
)
from registry.trust.filters import (
    SIGHTED,
    AnyGrantFilter,
    ConnectionFilter,
    Sides,
    filtered,
    observations_of,
    seen_in_use,
)
from registry.trust.queries import Questions

PAGING = ("limit", "before", "after")
FILTERS = {*AnyGrantFilter.base_filters, *ConnectionFilter.base_filters}


class SightingsBesideSerializer(serializers.Serializer[Any]):
    counts = counts("SightingsBeside", "of_servers", "of_systems")
    hidden = hidden("SightingsBeside", "of_servers", "of_systems")
    latest = SightingSerializer(many=True, help_text="As many as a page has rows.")
    url = serializers.URLField(help_text="Where all of them are, whatever their ends.")


class RelationshipListSerializer(AnswerSerializer):
    results = RelationshipSerializer(many=True)
    sightings = SightingsBesideSerializer(
        allow_null=True,
        required=False,
        help_text=f"{SIGHTINGS_HELP} On the first page; null where a filter asks for what only a relationship has.",
    )
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
            BASIS,
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
        refuse_unknown(asked, {*FILTERS, *PAGING, "as_of", "basis"})
        given_once(asked, {*PAGING, "as_of", "basis"})
        basis = read_basis(asked.get("basis", ""))
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
            if basis == "observed":
                sides = seen_in_use(sides, questions.as_of)
            page = queries.relationship_page(
                **({"grants": None, "connections": None} if note else sides),
                now=questions.as_of,
                before=self._cursor("before"),
                after=self._cursor("after"),
                limit=page_limit(asked.get("limit", "")),
                as_of=as_of,
            )
        body: dict[str, Any] = {
            "results": relationships_json(page.rows, now=questions.as_of),
            "next": self._link("before", page.next),
            "previous": self._link("after", page.previous),
            "as_of": questions.as_of,
            "data_version": questions.data_version,
            "note": note,
        }
        if basis != "granted" and not (note or asked.get("before") or asked.get("after")):
            body["sightings"] = self._sightings(questions, sides, page_limit(asked.get("limit", "")))
        links = [f'<{body[name]}>; rel="{rel}"' for name, rel in (("next", "next"), ("previous", "prev")) if body[name]]
        return Response(body, headers=headers | ({"Link": ", ".join(links)} if links else {}))

    def _sightings(self, questions: Questions, sides: Sides, limit: int) -> dict[str, Any] | None:
        asked = self.request.query_params
        if any(asked.get(name) for name in FILTERS - SIGHTED):
            return None
        kinds = [side.model.kind for side in (sides["grants"], sides["connections"]) if side is not None]
        found = questions.sightings(observations_of(questions.actor, asked), kinds)
        latest = found.rows.page(limit=limit).rows
        names = Names(questions, *ends_of(latest))
        return {
            "counts": found.counts,
            "hidden": found.hidden,
            "latest": [names.sighting(row) for row in latest],
            "url": self.request.build_absolute_uri(reverse("api:trust-sightings")),
        }

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
