"""The trust graph as a file: GraphML, JSON Graph Format or CSV, written while it is read."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID
from xml.sax.saxutils import escape, quoteattr

import orjson
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path, reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from registry.audit.services import record_export
from registry.core import clock, limits
from registry.core.csv import stream_csv
from registry.core.errors import Invalid
from registry.core.filtering import refuse_unknown
from registry.core.rest import JSONRenderer, actor_of
from registry.trust import queries
from registry.trust.api.asking import (
    ANSWER_HEADERS,
    AS_OF,
    IF_NONE_MATCH,
    entity_tag,
    given_once,
    read_instant,
    unchanged,
)
from registry.trust.api.relationships import FILTERS, filter_parameters
from registry.trust.filters import filtered
from registry.trust.queries.exporting import Head, exported

Parts = Iterator[Any]
PIECE = 64 * 1024
"""Bytes written at once; a write per row would cost more than the row."""

NODE_FACTS = {
    "kind": "string", "name": "string", "title": "string", "word": "string", "environment": "string",
    "state": "string", "tier": "string", "data_class": "string", "spiffe_id": "string", "client_id": "string",
    "issuer": "string", "owner": "string", "team": "string", "confidential": "boolean", "server": "string",
}  # fmt: skip
EDGE_FACTS = {
    "kind": "string", "status": "string", "in_force": "boolean", "certified": "boolean", "tools": "string",
    "all_tools": "boolean", "access": "string", "scopes": "string", "valid_until": "string",
    "certified_until": "string", "lineage": "string", "first_used": "string", "last_used": "string", "calls": "long",
    "errors": "long",
}  # fmt: skip
CSV_COLUMNS = (
    "kind", "id", "lineage", "status", "in_force", "agent_id", "agent_name", "server_id", "server_name", "system_id",
    "system_name", "tools", "all_tools", "access", "scopes", "environment", "tier", "team_name", "valid_until",
    "certified_until", "certified", "first_used", "last_used", "calls", "errors",
)  # fmt: skip


def node_facts(kind: str, row: dict[str, Any]) -> dict[str, Any]:
    """What is said of a thing; what it has not is left out."""
    facts = {
        **row,
        "kind": kind,
        "state": row.get("lifecycle") or row.get("standing"),
        "server": row.get("is_server"),
        **{name: row.get(f"{name}_id") for name in ("issuer", "owner", "team")},
    }
    return {name: facts[name] for name in NODE_FACTS if facts.get(name) not in (None, "")}


def edge_facts(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in EDGE_FACTS if row[name] not in (None, "", [])}


def edge_ends(row: dict[str, Any]) -> tuple[UUID, UUID]:
    return (row["agent_id"], row["server_id"]) if row["kind"] == "grant" else (row["server_id"], row["system_id"])


# --- JSON Graph Format, version 2 ------------------------------------------------------------------------


def json_graph(about: dict[str, Any], parts: Parts) -> Iterator[bytes]:
    """`{"graph": {…, "nodes": {id: …}, "edges": […]}}`."""
    opening = orjson.dumps({"directed": True, "type": "trust", "metadata": about}, default=str)
    yield b'{"graph":' + opening[:-1] + b',"nodes":{'
    separator, in_edges = b"", False
    for kind, row in parts:
        if kind in ("grant", "connection"):
            if not in_edges:
                yield b'},"edges":['
                separator, in_edges = b"", True
            source, target = edge_ends(row)
            edge = {"id": row["id"], "source": source, "target": target, "relation": kind, "metadata": edge_facts(row)}
            yield separator + orjson.dumps(edge, default=str)
        else:
            node = {"label": row["name"], "metadata": node_facts(kind, row)}
            yield separator + orjson.dumps(str(row["id"])) + b":" + orjson.dumps(node, default=str)
        separator = b",\n"
    yield b"]}}" if in_edges else b'},"edges":[]}}'


# --- GraphML ---------------------------------------------------------------------------------------------

_NOT_XML = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF])
"""Characters that no XML document may hold."""


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _data(of: str, facts: dict[str, Any]) -> str:
    return "".join(
        f'<data key="{of}.{name}">{escape(_word(value).translate(_NOT_XML))}</data>' for name, value in facts.items()
    )


def graphml(about: dict[str, Any], parts: Parts) -> Iterator[bytes]:
    keys = [
        *(("graph", name, "string") for name in about),
        *(("node", name, kind) for name, kind in NODE_FACTS.items()),
        *(("edge", name, kind) for name, kind in EDGE_FACTS.items()),
    ]
    declared = "\n".join(
        f'<key id="{of}.{name}" for="{of}" attr.name="{name}" attr.type="{kind}"/>' for of, name, kind in keys
    )
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n'
        f'{declared}\n<graph id="trust" edgedefault="directed">{_data("graph", about)}\n'
    ).encode()
    for kind, row in parts:
        if kind in ("grant", "connection"):
            source, target = edge_ends(row)
            ends = f'id="{row["id"]}" source="{source}" target="{target}"'
            yield f"<edge {ends}>{_data('edge', edge_facts(row))}</edge>\n".encode()
        else:
            yield f"<node id={quoteattr(str(row['id']))}>{_data('node', node_facts(kind, row))}</node>\n".encode()
    yield b"</graph>\n</graphml>\n"


# --- Out -------------------------------------------------------------------------------------------------


def _csv(about: dict[str, Any], parts: Parts) -> HttpResponseBase:
    """One line per relationship."""
    lines: Iterable[list[Any]] = (
        [" ".join(row[name]) if isinstance(row[name], list) else row[name] for name in CSV_COLUMNS]
        for kind, row in parts
        if kind in ("grant", "connection")
    )
    return stream_csv("trust", CSV_COLUMNS, lines)


def _in_pieces(chunks: Iterator[bytes], source: Parts) -> Iterator[bytes]:
    piece = bytearray()
    try:
        for chunk in chunks:
            piece += chunk
            if len(piece) >= PIECE:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece)
    finally:
        # Also when the client leaves early: the transaction behind it must not wait for it.
        source.close()  # type: ignore[attr-defined]


def _file(content_type: str, ending: str, write: Callable[[dict[str, Any], Parts], Iterator[bytes]]) -> Any:
    def respond(about: dict[str, Any], parts: Parts) -> HttpResponseBase:
        return StreamingHttpResponse(
            _in_pieces(write(about, parts), parts),
            content_type=content_type,
            headers={"Content-Disposition": f'attachment; filename="trust.{ending}"'},
        )

    return respond


FORMATS: dict[str, Callable[[dict[str, Any], Parts], HttpResponseBase]] = {
    "graphml": _file("application/graphml+xml", "graphml", graphml),
    "jgf": _file("application/vnd.jgf+json", "json", json_graph),
    "csv": _csv,
}


class ExportView(APIView):
    room = "trust"

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[Any, str]:
        """`format` names the file, not a renderer; what is refused is refused as JSON."""
        return JSONRenderer(), JSONRenderer.media_type

    @extend_schema(
        summary="The trust graph as a file, all of it or what filters leave",
        description="Read from one state of the data. `changes` in its head (and the link `monitor`) is where the feed "
        "of changes goes on from it. A CSV holds the relationships alone, one per line.",
        tags=["trust"],
        parameters=[
            OpenApiParameter("format", str, enum=list(FORMATS), required=True),
            *filter_parameters(),
            AS_OF,
            IF_NONE_MATCH,
        ],
        responses={
            (200, "application/graphml+xml"): OpenApiTypes.STR,
            (200, "application/vnd.jgf+json"): OpenApiTypes.OBJECT,
            (200, "text/csv"): OpenApiTypes.STR,
            304: OpenApiResponse(description="The file you have still holds."),
        },
    )
    @limits.counts_as("export")
    def get(self, request: Request) -> HttpResponseBase:
        asked = request.query_params
        refuse_unknown(asked, {*FILTERS, "format", "as_of"})
        given_once(asked, {"format", "as_of"})
        if asked.get("format") not in FORMATS:
            raise Invalid(fields={"format": [f"Choose one of: {', '.join(FORMATS)}."]})
        as_of = read_instant(asked["as_of"], "as_of") if asked.get("as_of") else None
        questions = queries.ask(actor_of(request), as_of=as_of)
        headers = {"ETag": entity_tag(request, questions), **ANSWER_HEADERS}
        if unchanged(request, headers["ETag"]):
            return Response(status=304, headers=headers)
        with clock.at(questions.as_of):
            sides = filtered(questions.actor, asked)
        # Before the reading begins: its transaction may not write.
        record_export(actor=questions.actor, of="trust graph", question=asked.urlencode(), form=asked["format"])
        parts = exported(questions.actor, **sides, whole=not set(asked) & FILTERS, as_of=as_of)
        head = next(parts)
        assert isinstance(head, Head)
        about = {
            "as_of": head.as_of.isoformat(),
            "data_version": questions.data_version,
            "changes": head.changes,
        }
        if head.hidden is not None:
            about["hidden"] = str(head.hidden)
        response = FORMATS[asked["format"]](about, parts)
        for name, value in headers.items():
            response[name] = value
        if head.changes:
            address = request.build_absolute_uri(reverse("api:trust-changes"))
            response["Link"] = f'<{address}?{urlencode({"cursor": head.changes})}>; rel="monitor"'
        return response


paths = [path("trust/export", ExportView.as_view(), name="trust-export")]
