"""What nobody looks after, what crosses a border, what is used without a grant, and what became of it all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from registry.catalog.models import Environment
from registry.core import clock
from registry.core.errors import Malformed, NotFound
from registry.core.http import Request
from registry.core.icons import Icon
from registry.core.permissions import require
from registry.trust.labels import UNSEEN, labels, source_name
from registry.trust.queries import Questions, ask
from registry.trust.question import Question, Ref, key_of
from registry.trust.views.shared import NAV, AskedDay, waiting_for_decision

PAGE = 30
DAYS = (30, 90, 180)
TEAMS = (2, 5, 10)


STATES: Mapping[str, str | Promise] = {
    "": _("not there"),
    "in force": _("in force"),
    "active": _("approved, not in force"),
    "requested": _("requested"),
    "suspended": _("suspended"),
}


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
        _(
            "In force, but not used for a while. It can probably be cut. Connections of servers of which no log names a"
            " system are left out: of those nobody knows."
        ),
        _("Everything in force was used in that time."),
        Icon.HOURGLASS,
    ),
    "diffuse": Look(
        _("Diffuse ownership"),
        _("A server that agents of many teams call: a change to it concerns everybody, so nobody decides."),
        _("No server is called by so many teams."),
        Icon.USERS,
    ),
    "sightings": Look(
        _("Observed, not granted"),
        _("Use that nothing in force allows: a grant or a connection is missing, or something gets around them."),
        _("Everything that was seen in use is allowed."),
        Icon.EYE,
    ),
    "changes": Look(
        _("What changed"),
        _("Relationships that stand otherwise than they stood on an earlier day."),
        _("Every relationship stands as it stood then."),
        Icon.GIT_COMPARE,
    ),
}


@require_safe
def hygiene(request: Request) -> HttpResponse:
    require(request.actor, "trust.view")
    name = request.GET.get("look", "secrets")
    if name not in LOOKS:
        raise NotFound
    asked = Asked.read(request)
    questions = ask(request.actor, as_of=asked.day.instant)
    found, rows = _find(questions, name, asked)
    page = rows.page(request.GET.get("cursor"), PAGE)
    known = labels(_refs(name, page.rows))
    rest = request.GET.copy()
    rest.pop("cursor", None)
    here = rest.urlencode()
    context: dict[str, Any] = {
        "nav": NAV,
        "name": name,
        "look": LOOKS[name],
        "looks": [(key, look.title) for key, look in LOOKS.items()],
        "answer": found,
        "rows": [_row(name, row, known) for row in page.rows],
        "hidden": rows.hidden,
        "next": page.next,
        "next_url": f"?{here}{'&' if here else ''}{urlencode({'cursor': page.next})}" if page.next else "",
        "totals": _totals(name, found.counts),
        "asked": asked,
        "day": asked.day,
        "days": asked.days,
        "day_choices": DAYS if name == "unused" else (),
        "teams": asked.teams,
        "team_choices": TEAMS if name == "diffuse" else (),
        "environments": Environment.choices if name == "environments" else (),
        "unknown": name in ("unused", "sightings") and not found.known,
        "waiting": waiting_for_decision(request.actor),
    }
    return render(request, "trust/hygiene.html", context, status=asked.status)


@dataclass(frozen=True)
class Asked:
    """What the address asks besides the look. `since` is the earlier day of a comparison."""

    day: AskedDay
    since: AskedDay
    days: int
    teams: int
    near: str
    far: str

    @classmethod
    def read(cls, request: Request) -> "Asked":
        """Raises `Malformed` for a value that is not offered."""
        day, since = AskedDay.read(request), AskedDay.read(request, "since")
        last = day.day or clock.today()
        if since.day is None:
            since = replace(since, day=last - timedelta(days=30))
        elif since.day >= last:
            words = _("Choose an earlier day than the other.")
            since = AskedDay(last - timedelta(days=30), str(words), "")
        return cls(
            day, since, _number(request, "days", DAYS, 90), _number(request, "teams", TEAMS, 5),
            _environment(request, "near"), _environment(request, "far"),
        )  # fmt: skip

    @property
    def status(self) -> int:
        return max(self.day.status, self.since.status)


def _environment(request: Request, name: str) -> str:
    word = request.GET.get(name, "")
    if word and word not in Environment.values:
        raise Malformed(fields={name: [str(_("Choose one of the environments offered."))]})
    return word


COUNTED: Mapping[str, Sequence[tuple[str, Callable[[int], str]]]] = {
    "secrets": (("secrets", lambda n: ngettext("%(n)d shared secret", "%(n)d shared secrets", n)),
                ("servers", lambda n: ngettext("%(n)d server uses one", "%(n)d servers use one", n))),
    "environments": (
        ("environment", lambda n: ngettext("%(n)d way across", "%(n)d ways across", n)),
        ("worst", lambda n: ngettext("%(n)d from outside into production", "%(n)d from outside into production", n)),
    ),
    "tenants": (("tenant", lambda n: ngettext("%(n)d server", "%(n)d servers", n)),),
    "orphans": (("grants", lambda n: ngettext("%(n)d grant", "%(n)d grants", n)),
                ("connections", lambda n: ngettext("%(n)d connection", "%(n)d connections", n))),
    "unused": (("grants", lambda n: ngettext("%(n)d grant", "%(n)d grants", n)),
               ("connections", lambda n: ngettext("%(n)d connection", "%(n)d connections", n))),
    "diffuse": (("servers", lambda n: ngettext("%(n)d server", "%(n)d servers", n)),),
    "sightings": (("of_servers", lambda n: ngettext("%(n)d agent on a server", "%(n)d agents on a server", n)),
                  ("of_systems", lambda n: ngettext("%(n)d server on a system", "%(n)d servers on a system", n))),
    "changes": (("appeared", lambda n: ngettext("%(n)d appeared", "%(n)d appeared", n)),
                ("vanished", lambda n: ngettext("%(n)d vanished", "%(n)d vanished", n)),
                ("changed", lambda n: ngettext("%(n)d changed", "%(n)d changed", n)),
                ("came_into_force", lambda n: ngettext("%(n)d came into force", "%(n)d came into force", n)),
                ("lost_force", lambda n: ngettext("%(n)d lost force", "%(n)d lost force", n))),
}  # fmt: skip
"""Which numbers of an answer are its totals, in words; they count also what may not be named."""


def _totals(name: str, counts: Mapping[str, int]) -> list[str]:
    return [words(counts[count]) % {"n": counts[count]} for count, words in COUNTED[name]]


def _number(request: Request, name: str, known: tuple[int, ...], usual: int) -> int:
    text = request.GET.get(name, str(usual))
    if text not in map(str, known):
        raise Malformed(fields={name: [str(_("Choose one of the numbers offered."))]})
    return int(text)


def _find(questions: Questions, name: str, asked: Asked) -> tuple[Any, Any]:
    """The answer, and its rows of this look."""
    match name:
        case "secrets":
            secrets = questions.shared_secrets()
            return secrets, secrets.secrets
        case "environments":
            crossings = questions.crossings(asked.near, asked.far)
            return crossings, crossings.environment
        case "tenants":
            crossings = questions.crossings()
            return crossings, crossings.tenant
        case "orphans":
            orphans = questions.orphans()
            return orphans, orphans.rows
        case "unused":
            unused = questions.unused(asked.days)
            return unused, unused.rows
        case "sightings":
            sightings = questions.sightings()
            return sightings, sightings.rows
        case "changes":
            since = asked.since.instant
            assert since is not None  # an earlier day than today, so it has an end
            difference = questions.difference(since)
            return difference, difference.rows
        case _:
            diffuse = questions.diffuse(asked.teams)
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
        elif name == "sightings":
            refs |= {row.source, row.target}
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
            kinds = ("agent", "server", "system")
            ends = [known.get((kind, getattr(row, kind))) for kind in kinds]
            asked = {"ask": "path", "of": key_of(("agent", row.agent)), "to": key_of(("system", row.system))}
            url = explore(**asked) if row.agent and row.system else ""
            unseen = [UNSEEN[kind] for kind in kinds]
            return {"row": row, "ends": list(zip(ends, row.environments, unseen, strict=True)), "url": url}
        case "tenants":
            return {
                "row": row,
                "server": known.get(("server", row.server)),
                "issuers": [known.get(("issuer", pk)) if pk else None for pk in row.issuers],
                "url": explore(ask="around", of=key_of(("server", row.server))) if row.server else "",
            }
        case "sightings":
            return {
                "row": row,
                "source": known.get(row.source),
                "target": known.get(row.target),
                "url": explore(ask="around", of=key_of(row.source), basis="both"),
            }
        case "changes":
            return {
                "row": row,
                "relationship": known.get((row.kind, row.id)),
                "before": STATES.get(row.before, row.before),
                "after": STATES.get(row.after, row.after),
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
