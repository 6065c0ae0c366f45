"""What the things of a graph answer are called: one statement per kind, for exactly the ids of an answer.

An answer about the graph holds ids and codes only and has left out already what its reader may not see, so these
look-ups do not ask again.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from registry.accounts.models import Team, User
from registry.catalog.models import Agent, Issuer, SecretSource, Server, System
from registry.core.icons import Icon
from registry.trust.models import Connection, Grant
from registry.trust.queries.past import fetch_columns
from registry.trust.question import Ref

if TYPE_CHECKING:
    from registry.trust.queries.answers import Path

SYSTEM_ICONS: Mapping[str, Icon] = {
    "database": Icon.DATABASE,
    "ticketing": Icon.TICKET,
    "repository": Icon.FOLDER_GIT,
    "cloud": Icon.CLOUD,
    "storage": Icon.HARD_DRIVE,
    "messaging": Icon.MESSAGES_SQUARE,
    "saas": Icon.PLUG,
    "internal": Icon.BRACES,
    "host": Icon.TERMINAL,
    "web": Icon.GLOBE,
}
KIND_ICONS: Mapping[str, Icon] = {
    "agent": Icon.BOT,
    "server": Icon.SERVER,
    "system": Icon.DATABASE,
    "secret_source": Icon.KEY_ROUND,
    "issuer": Icon.BADGE_CHECK,
    "team": Icon.USERS,
    "person": Icon.USER,
    "grant": Icon.HANDSHAKE,
    "connection": Icon.PLUG,
}
KIND_WORDS: Mapping[str, str | Promise] = {
    "agent": gettext_lazy("Agent"),
    "server": gettext_lazy("Server"),
    "system": gettext_lazy("System"),
    "secret_source": gettext_lazy("Secret source"),
    "issuer": gettext_lazy("Issuer"),
    "team": gettext_lazy("Team"),
    "person": gettext_lazy("Person"),
    "grant": gettext_lazy("Grant"),
    "connection": gettext_lazy("Connection"),
}


UNSEEN: Mapping[str, str | Promise] = {
    "agent": gettext_lazy("an agent you may not see"),
    "server": gettext_lazy("a server you may not see"),
    "system": gettext_lazy("a system you may not see"),
}


@dataclass(frozen=True, slots=True)
class Label:
    """How a thing reads: its name, a word about it, where its page is. `mono` for names that are identifiers."""

    name: str
    sub: str = ""
    icon: Icon = Icon.CIRCLE
    url: str = ""
    mono: bool = False
    owner: str = ""


def ends_of(path: "Path") -> list[tuple[Ref | None, str]]:
    """What a path leads through, in order, with the kind of each; what may not be seen has only its kind."""
    if not path.steps:
        return []
    first = path.steps[0]
    ends = [(first.source, "agent" if first.kind == "grant" else "server")]
    return ends + [(step.target, "server" if step.kind == "grant" else "system") for step in path.steps]


def labels(refs: Iterable[Ref], as_of: datetime | None = None) -> dict[Ref, Label]:
    """The labels of `refs`, as they read at a past instant (None: now); what has none is not in it.

    People and teams are called what they are called today.
    """
    wanted: dict[str, set[UUID]] = defaultdict(set)
    for kind, pk in refs:
        wanted[kind].add(pk)
    found: dict[Ref, Label] = {}
    for kind, ids in wanted.items():
        if fetch := _FETCHERS.get(kind):
            found |= {(kind, pk): label for pk, label in fetch(ids, as_of)}
    return found


def _agents(ids: set[UUID], as_of: datetime | None) -> Iterable[tuple[UUID, Label]]:
    kinds: dict[Any, Any] = dict(Agent.Kind.choices)
    for pk, name, kind, owner in _rows(Agent, ids, as_of, "name", "kind", "owner__name"):
        yield pk, Label(name, str(kinds[kind]), Icon.BOT, reverse("catalog:agent", args=[pk]), owner=owner or "")


def _servers(ids: set[UUID], as_of: datetime | None) -> Iterable[tuple[UUID, Label]]:
    for pk, name, title, owner in _rows(Server, ids, as_of, "name", "title", "owner__name"):
        short = title or name.rpartition("/")[2]
        yield pk, Label(short, name, Icon.SERVER, reverse("catalog:server", args=[pk]), not title, owner or "")


def _systems(ids: set[UUID], as_of: datetime | None) -> Iterable[tuple[UUID, Label]]:
    kinds: dict[Any, Any] = dict(System.Kind.choices)
    for pk, name, kind, owner in _rows(System, ids, as_of, "name", "kind", "owner__name"):
        url = reverse("catalog:system", args=[pk])
        yield pk, Label(name, str(kinds[kind]), SYSTEM_ICONS[kind], url, owner=owner or "")


def _teams(ids: set[UUID], as_of: datetime | None) -> Iterable[tuple[UUID, Label]]:
    for pk, name, slug in _rows(Team, ids, as_of, "name", "slug"):
        yield pk, Label(name, str(KIND_WORDS["team"]), Icon.USERS, reverse("accounts:team", args=[slug]))


def _people(ids: set[UUID], as_of: datetime | None) -> Iterable[tuple[UUID, Label]]:
    for pk, name, email in _rows(User, ids, as_of, "name", "email"):
        yield pk, Label(name, email, Icon.USER, reverse("accounts:person", args=[pk]))


def _issuers(ids: set[UUID], as_of: datetime | None) -> Iterable[tuple[UUID, Label]]:
    for pk, name, uri in _rows(Issuer, ids, as_of, "name", "uri"):
        yield pk, Label(name, uri, Icon.BADGE_CHECK, reverse("catalog:issuer", args=[pk]))


def _sources(ids: set[UUID], as_of: datetime | None) -> Iterable[tuple[UUID, Label]]:
    rows = _rows(SecretSource, ids, as_of, "kind", "reference", "server_id", "server__title", "server__name")
    for pk, kind, reference, server, title, name in rows:
        url = reverse("catalog:server", args=[server])
        yield pk, Label(source_name(kind, reference), title or name, Icon.KEY_ROUND, url, mono=True)


def _grants(ids: set[UUID], as_of: datetime | None) -> Iterable[tuple[UUID, Label]]:
    for pk, agent, title, name in _rows(Grant, ids, as_of, "agent__name", "server__title", "server__name"):
        words = f"{agent} → {title or name.rpartition('/')[2]}"
        yield pk, Label(words, str(KIND_WORDS["grant"]), Icon.HANDSHAKE, reverse("trust:grant", args=[pk]))


def _connections(ids: set[UUID], as_of: datetime | None) -> Iterable[tuple[UUID, Label]]:
    for pk, title, name, system in _rows(Connection, ids, as_of, "server__title", "server__name", "system__name"):
        words = f"{title or name.rpartition('/')[2]} → {system}"
        yield pk, Label(words, str(KIND_WORDS["connection"]), Icon.PLUG, reverse("trust:connection", args=[pk]))


def source_name(kind: str, reference: str) -> str:
    """A secret source as people write it: where the secret is, never the secret."""
    return _("no credential") if kind == SecretSource.Kind.NONE else f"{kind}:{reference}"


def _rows(model: Any, ids: set[UUID], as_of: datetime | None, *fields: str) -> Iterable[Any]:
    return fetch_columns(model.objects.filter(pk__in=ids).order_by().values_list("pk", *fields), as_of)


_FETCHERS: Mapping[str, Callable[[set[UUID], datetime | None], Iterable[tuple[UUID, Label]]]] = {
    "agent": _agents,
    "server": _servers,
    "system": _systems,
    "team": _teams,
    "person": _people,
    "issuer": _issuers,
    "secret_source": _sources,
    "grant": _grants,
    "connection": _connections,
}
