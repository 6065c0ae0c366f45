"""What nobody looks after or what crosses a border: shared secrets, crossings, orphans, unused, diffuse ownership."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from registry.core.errors import Malformed, NotFound
from registry.core.http import Request
from registry.core.icons import Icon
from registry.core.permissions import require
from registry.trust.labels import labels, source_name
from registry.trust.queries import Questions, ask
from registry.trust.question import Question, Ref, key_of
from registry.trust.views.shared import NAV, waiting_for_decision

PAGE = 30
DAYS = (30, 90, 180)
TEAMS = (2, 5, 10)


@dataclass(frozen=True)
class Look:
    """One thing to look for: what it means, and what it says when there is none."""

    title: str | Promise
    explanation: str | Promise
    none: str | Promise
    icon: Icon


LOOKS: Mapping[str, Look] = {
    "secrets": Look(
        _("Shared secrets"),
        _("One secret that several servers use: whoever takes it from one has what all of them reach."),
        _("Every server has a secret of its own."),
        Icon.KEY_ROUND,
    ),
    "environments": Look(
        _("Across environments"),
        _("An agent, a server or a system of one environment that reaches another one. Worst first."),
        _("No path leaves its environment."),
        Icon.SHUFFLE,
    ),
    "tenants": Look(
        _("Across tenants"),
        _("A server called by agents whose tokens come from different issuers."),
        _("No server is called from several tenants."),
        Icon.BUILDING,
    ),
    "orphans": Look(
        _("Orphaned"),
        _("A relationship of which an end has no owner, or one who has left: nobody answers for it."),
        _("Both ends of every relationship have somebody who answers for them."),
        Icon.USER_X,
    ),
    "unused": Look(
        _("Unused"),
        _("In force, but not used for a while. It can probably be cut."),
        _("Everything in force was used in that time."),
        Icon.HOURGLASS,
    ),
    "diffuse": Look(
        _("Diffuse ownership"),
        _("A server that agents of many teams call: a change to it concerns everybody, so nobody decides."),
        _("No server is called by so many teams."),
        Icon.USERS,
    ),
}


@require_safe
def hygiene(request: Request) -> HttpResponse:
    require(request.actor, "trust.view")
    name = request.GET.get("look", "secrets")
    if name not in LOOKS:
        raise NotFound
    days, teams = _number(request, "days", DAYS, 90), _number(request, "teams", TEAMS, 5)
    questions = ask(request.actor)
    found, rows = _find(questions, name, days, teams)
    page = rows.page(request.GET.get("cursor"), PAGE)
    known = labels(_refs(name, page.rows))
    context: dict[str, Any] = {
        "nav": NAV,
        "name": name,
        "look": LOOKS[name],
        "looks": [(key, look.title) for key, look in LOOKS.items()],
        "answer": found,
        "rows": [_row(name, row, known) for row in page.rows],
        "hidden": rows.hidden,
        "next": page.next,
        "days": days,
        "day_choices": DAYS if name == "unused" else (),
        "teams": teams,
        "team_choices": TEAMS if name == "diffuse" else (),
        "unknown": name == "unused" and not found.known,
        "waiting": waiting_for_decision(request.actor),
    }
    return render(request, "trust/hygiene.html", context)


def _number(request: Request, name: str, known: tuple[int, ...], usual: int) -> int:
    text = request.GET.get(name, str(usual))
    if text not in map(str, known):
        raise Malformed(fields={name: [str(_("Choose one of the numbers offered."))]})
    return int(text)


def _find(questions: Questions, name: str, days: int, teams: int) -> tuple[Any, Any]:
    """The answer, and its rows of this look."""
    match name:
        case "secrets":
            secrets = questions.shared_secrets()
            return secrets, secrets.secrets
        case "environments":
            crossings = questions.crossings()
            return crossings, crossings.environment
        case "tenants":
            crossings = questions.crossings()
            return crossings, crossings.tenant
        case "orphans":
            orphans = questions.orphans()
            return orphans, orphans.rows
        case "unused":
            unused = questions.unused(days)
            return unused, unused.rows
        case _:
            diffuse = questions.diffuse(teams)
            return diffuse, diffuse.rows


def _refs(name: str, rows: Any) -> set[Ref]:
    """Everything these rows speak of."""
    refs: set[Ref] = set()
    for row in rows:
        if name == "secrets":
            refs |= {("server", pk) for pk in row.servers}
        elif name in ("environments", "tenants"):
            refs |= {(kind, pk) for kind in ("agent", "server", "system") if (pk := getattr(row, kind))}
            refs |= {("issuer", pk) for pk in row.issuers if pk}
        elif name == "diffuse":
            refs.add(("server", row.id))
        else:
            refs.add((row.kind, row.id))
            refs |= set(getattr(row, "ends", ()))
    return refs


def _row(name: str, row: Any, known: Mapping[Ref, Any]) -> dict[str, Any]:
    """A row with its names, and the question that shows it in the explorer."""

    def explore(**asked: Any) -> str:
        return f"{reverse('trust:explore')}?{Question(**asked).query()}"

    match name:
        case "secrets":
            return {
                "row": row,
                "secret": source_name(row.kind, row.reference),
                "servers": [known[("server", pk)] for pk in row.servers if ("server", pk) in known],
                "url": explore(ask="cut", of=key_of(("secret_source", row.id))),
            }
        case "environments":
            ends = [known.get((kind, getattr(row, kind))) for kind in ("agent", "server", "system")]
            asked = {"ask": "path", "of": key_of(("agent", row.agent)), "to": key_of(("system", row.system))}
            url = explore(**asked) if row.agent and row.system else ""
            return {"row": row, "ends": list(zip(ends, row.environments, strict=True)), "url": url}
        case "tenants":
            return {
                "row": row,
                "server": known.get(("server", row.server)),
                "issuers": [known.get(("issuer", pk)) if pk else None for pk in row.issuers],
                "url": explore(ask="around", of=key_of(("server", row.server))) if row.server else "",
            }
        case "diffuse":
            return {
                "row": row,
                "server": known.get(("server", row.id)),
                "url": explore(ask="around", of=key_of(("server", row.id))),
            }
    return {
        "row": row,
        "relationship": known.get((row.kind, row.id)),
        "ends": [(end, known.get(end)) for end in getattr(row, "ends", ())],
        "url": explore(ask="cut", of=key_of((row.kind, row.id))),
    }
