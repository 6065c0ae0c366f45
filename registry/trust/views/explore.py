"""The explorer: one address is one question, answered as a picture, as a table, or as a file."""

from collections.abc import Iterator
from typing import Any

import orjson
from django.http import HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from registry.catalog.looks import note_looks
from registry.core import clock, limits
from registry.core.csv import stream_csv
from registry.core.errors import NotFound
from registry.core.http import Request
from registry.core.icons import Icon, embedded
from registry.core.permissions import require
from registry.trust.explorer import Explorer
from registry.trust.lookup import suggest
from registry.trust.question import ASKS, BASES, COLOURS, GROUPS, REPEATED, THINGS, NotYet, Question
from registry.trust.views.shared import NAV, waiting_for_decision

EXPORTS = {"svg": _("Picture (SVG)"), "csv": _("Table (CSV)"), "json": _("Graph (JSON)")}


def _readable(query: QueryDict) -> tuple[QueryDict, str]:
    """The query without a day that is still to come, and the words to say so beside its field."""
    try:
        Question.read(query)
    except NotYet as error:
        rest = query.copy()
        del rest["on"]
        return rest, error.fields["on"][0]
    return query, ""


def _explorer(request: Request, query: QueryDict, *, everything: bool = False) -> Explorer:
    require(request.actor, "trust.view")
    question = Question.read(query)
    shown = {end: request.GET.get(name, "") for end, name in REPEATED.items()}
    address = reverse("trust:explore")
    explorer = Explorer(request.actor, question, address=address, shown=shown, everything=everything)
    note_looks(request.actor, [found.ref for found in (explorer.subject, explorer.target) if found])
    return explorer


@require_safe
def explore(request: Request) -> HttpResponse:
    """The page; htmx gets the part that answers, with the address that asks for it."""
    query, wrong = _readable(request.GET)
    explorer = _explorer(request, query)
    context: dict[str, Any] = {
        "wrong_day": wrong,
        "nav": NAV,
        "explorer": explorer,
        "question": explorer.question,
        "asks": ASKS,
        "bases": BASES,
        "groups": GROUPS,
        "colours": COLOURS,
        "exports": [
            (word, f"{reverse(f'trust:explore_{kind}')}?{explorer.question.query()}", kind)
            for kind, word in EXPORTS.items()
        ],
        "today": clock.today().isoformat(),
    }
    status = 422 if wrong else 200
    if request.htmx:
        response = render(request, "trust/_explorer.html", context, status=status)
        response["HX-Push-Url"] = explorer.link(explorer.question)
    else:
        context["waiting"] = waiting_for_decision(request.actor)
        response = render(request, "trust/explore.html", context, status=status)
    response["Vary"] = "HX-Request"
    return response


@require_safe
def options(request: Request) -> HttpResponse:
    """Suggestions for a field of the question bar: things of the kinds this question may be about."""
    require(request.actor, "trust.view")
    end = "to" if "to" in request.GET else "of"
    asked = ASKS.get(request.GET.get("ask", ""))
    kinds = (asked.to if end == "to" else asked.of) if asked else THINGS
    found = suggest(request.actor, request.GET.get(end, "")[:200], kinds)
    offered = [{"value": each.label.name, "label": f"{each.kind_word}: {each.label.name}"} for each in found]
    return render(request, "catalog/_options.html", {"offered": offered})


# --- Files -----------------------------------------------------------------------------------------------


def _answered(request: Request, *, everything: bool = False) -> Explorer:
    """A question that has an answer; a file must not hold the answer to another one."""
    explorer = _explorer(request, request.GET, everything=everything)
    if explorer.state != "answered":
        raise NotFound
    return explorer


def _name() -> str:
    return f"trust-{clock.now():%Y-%m-%d-%H%M}"


def _named(kind: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{_name()}.{kind}"'}


@require_safe
@limits.counts_as("export")
def explore_svg(request: Request) -> HttpResponse:
    """The picture as a document of its own: with its style and its icons, without links."""
    explorer = _answered(request)
    chart = explorer.chart
    used = {box.icon for box in chart.boxes} | {box.mark for box in chart.boxes} | {Icon.KEY_ROUND}
    context = {
        "explorer": explorer,
        "chart": chart,
        "symbols": embedded(sorted(used)),
        "file_width": f"{max(chart.plan.width, 560) + 32:g}",
        "file_height": f"{chart.plan.height + 84:g}",
        "foot": f"{chart.plan.height + 20:g}",
    }
    document = render_to_string("trust/chart_file.svg", context)
    return HttpResponse(document, content_type="image/svg+xml", headers=_named("svg"))


CSV_COLUMNS = (
    "kind", "from", "to", "what", "status", "certified", "tier", "environment", "data_class", "writes_confidential",
    "basis", "calls", "errors", "last_used", "id", "as_of", "data_version",
)  # fmt: skip


@require_safe
@limits.counts_as("export")
def explore_csv(request: Request) -> HttpResponseBase:
    """The table, every line of it, nothing grouped."""
    explorer = _answered(request, everything=True)
    version, instant = explorer.hood.data_version, explorer.hood.as_of.isoformat()

    def rows() -> Iterator[tuple[Any, ...]]:
        for row in explorer.chart.rows:
            yield (
                row.kind, row.source.name, row.target.name, row.what, row.status, row.certified, row.tier,
                row.environment, row.data_class, row.hot, row.basis, row.calls, row.errors, row.last_used,
                row.id, instant, version,
            )  # fmt: skip

    return stream_csv(_name(), CSV_COLUMNS, rows())


@require_safe
@limits.counts_as("export")
def explore_json(request: Request) -> HttpResponse:
    """The graph in the JSON Graph Format, version 2, nothing grouped."""
    explorer = _answered(request, everything=True)
    chart, hood = explorer.chart, explorer.hood
    graph = {
        "directed": True,
        "type": "trust",
        "metadata": {
            "data_version": hood.data_version,
            "as_of": hood.as_of,
            "question": explorer.question.query(),
            "hidden": dict(hood.hidden),
        },
        "nodes": {
            node.key: {
                "label": chart.labels[node.key].name,
                "metadata": {
                    "kind": node.kind,
                    "environment": node.environment,
                    "tier": node.tier,
                    "data_class": node.data_class,
                    "state": node.state,
                    "certified": node.certified,
                    "members": node.members,
                },
            }
            for node in hood.nodes
        },
        "edges": [
            {
                "id": edge.id,
                "source": edge.source,
                "target": edge.target,
                "relation": edge.kind,
                "metadata": {
                    "status": edge.status,
                    "access": edge.access,
                    "all_tools": edge.all_tools,
                    "tools": edge.tools,
                    "certified": edge.certified,
                    "writes_confidential": edge.hot,
                    "basis": edge.basis,
                    "calls": edge.calls,
                    "errors": edge.errors,
                    "last_used": edge.last_used,
                },
            }
            for edge in hood.edges
        ],
    }
    body = orjson.dumps({"graph": graph}, option=orjson.OPT_SERIALIZE_NUMPY)
    return HttpResponse(body, content_type="application/json", headers=_named("json"))
