"""From words to things and back: what a text names, and the names of what an answer lists by id."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q

from registry.catalog.models import Agent, Server, System
from registry.core.actors import Actor
from registry.core.errors import Invalid, NotFound
from registry.trust.models import may_see_all, seen_by
from registry.trust.queries.answers import Ref

_MODELS: Mapping[str, type[Any]] = {"agent": Agent, "server": Server, "system": System}


def find(actor: Actor, model: type[Agent] | type[Server] | type[System], text: str, *, field: str) -> Any:
    """The agent, server or system that `text` names: an id, else its name (an agent also by SPIFFE id).

    Raises `NotFound` for what does not exist or may not be seen, `Invalid` when several share the name.
    """
    try:
        wanted = Q(pk=UUID(text))
    except ValueError:
        wanted = Q(name=text)
        if model is Agent:
            wanted |= Q(spiffe_id=text)
    found = list(seen_by(actor, model).filter(wanted).order_by("pk")[:2])
    if not found:
        raise NotFound(fields={field: [f"There is no {model._meta.verbose_name} {text} that you may see."]})
    if len(found) > 1:
        raise Invalid(fields={field: [f"Several are called {text}; name it by id."]})
    return found[0]


# Written out, not composed: a page of an answer names things of five kinds, and composing five statements anew would
# take longer than the question.
_ENDS = "o.name AS owner, t.name AS team FROM {0} x LEFT JOIN accounts_user o ON o.id = x.owner_id "
_ENDS += "LEFT JOIN accounts_team t ON t.id = x.team_id WHERE x.id = ANY(%s)"
_STATEMENTS: Mapping[str, str] = {
    "agent": "SELECT x.id, x.name, x.kind, x.spiffe_id, x.client_id, x.environment, x.confidential, "
    + _ENDS.format("catalog_agent"),
    "server": "SELECT x.id, x.name, x.title, x.tier, x.environment, x.confidential, " + _ENDS.format("catalog_server"),
    "system": "SELECT x.id, x.name, x.kind, x.environment, x.data_class, x.confidential, "
    + _ENDS.format("catalog_system"),
    "grant": """
        SELECT x.id, x.status, x.tools, x.all_tools, x.on_behalf_of, x.behalf_detail, x.valid_until,
               x.agent_id, a.name AS agent_name, x.server_id, s.name AS server_name
        FROM trust_grant x JOIN catalog_agent a ON a.id = x.agent_id JOIN catalog_server s ON s.id = x.server_id
        WHERE x.id = ANY(%s)""",
    "connection": """
        SELECT x.id, x.status, x.access, x.scopes, x.valid_until,
               x.server_id, s.name AS server_name, x.system_id, y.name AS system_name
        FROM trust_connection x JOIN catalog_server s ON s.id = x.server_id JOIN catalog_system y ON y.id = x.system_id
        WHERE x.id = ANY(%s)""",
    "person": "SELECT id, name FROM accounts_user WHERE id = ANY(%s)",
    "team": "SELECT id, name FROM accounts_team WHERE id = ANY(%s)",
    "issuer": "SELECT id, name FROM catalog_issuer WHERE id = ANY(%s)",
    "secret_source": "SELECT id, kind, reference FROM catalog_secretsource WHERE id = ANY(%s)",
}


def _fetched(wanted: Mapping[str, list[UUID]]) -> dict[Ref, dict[str, Any]]:
    """All statements in one journey: on a busy machine each journey waits its turn."""
    connection.ensure_connection()
    cursors = {kind: connection.cursor() for kind in wanted}
    with connection.connection.pipeline():
        for kind, ids in wanted.items():
            cursors[kind].execute(_STATEMENTS[kind], [ids])
    found: dict[Ref, dict[str, Any]] = {}
    for kind, cursor in cursors.items():
        with cursor:
            columns = [column.name for column in cursor.description]
            rows = (dict(zip(columns, row, strict=True)) for row in cursor.fetchall())
            found |= {(kind, row["id"]): row for row in rows}
    return found


def named(actor: Actor, refs: Iterable[Ref]) -> dict[Ref, dict[str, Any]]:
    """What the things of a page are called, in one statement per kind.

    Of an agent, server or system also environment, owner and team (by name) and what tells it apart; of a grant or
    connection its terms and its ends. For things that an answer lists: it has left out already what `actor` may not
    see. What turned confidential since then is left out here.
    """
    wanted: dict[str, list[UUID]] = {}
    for kind, id in set(refs):
        wanted.setdefault(kind, []).append(id)
    found = _fetched(wanted)
    if not may_see_all(actor):
        for kind, model in _MODELS.items():
            doubtful = {id for of, id in found if of == kind and found[of, id]["confidential"]}
            if not doubtful:
                continue
            seen = set(model.objects.visible_to(actor).filter(pk__in=doubtful).values_list("pk", flat=True))
            for id in doubtful - seen:
                del found[kind, id]
    return found
