"""From words to things and back: what a text names, and the names of what an answer lists by id."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q

from registry.catalog.models import Agent, Server, System
from registry.core.actors import Actor
from registry.core.errors import Invalid, NotFound
from registry.trust.models import may_see_all, seen_by
from registry.trust.queries.answers import Ref
from registry.trust.queries.past import fetch_columns, laid_back

_MODELS: Mapping[str, type[Any]] = {"agent": Agent, "server": Server, "system": System}


def find(
    actor: Actor,
    model: type[Agent] | type[Server] | type[System],
    text: str,
    *,
    field: str,
    as_of: datetime | None = None,
) -> UUID:
    """The id of the agent, server or system that `text` names: an id, else its name (an agent also by SPIFFE id),
    the one it had at a past instant if one is given.

    Raises `NotFound` for what does not exist or may not be seen, `Invalid` when several share the name.
    """
    try:
        wanted = Q(pk=UUID(text))
    except ValueError:
        wanted = Q(name=text)
        if model is Agent:
            wanted |= Q(spiffe_id=text)
    found = fetch_columns(seen_by(actor, model).filter(wanted).order_by("pk").values_list("pk")[:2], as_of)
    if not found:
        raise NotFound(fields={field: [f"There is no {model._meta.verbose_name} {text} that you may see."]})
    if len(found) > 1:
        raise Invalid(fields={field: [f"Several are called {text}; name it by id."]})
    return UUID(str(found[0][0]))


# Written out, not composed: a page of an answer names things of five kinds, and composing five statements anew would
# take longer than the question. Without joins where nobody asks for them: planning one takes longer than its rows.
_STATEMENTS: Mapping[str, str] = {
    "agent": """
        SELECT x.id, x.name, x.kind, x.spiffe_id, x.client_id, x.environment, x.confidential, o.name AS owner
        FROM catalog_agent x LEFT JOIN accounts_user o ON o.id = x.owner_id WHERE x.id = ANY(%s::uuid[])""",
    "server": "SELECT id, name, title, tier, environment, confidential FROM catalog_server WHERE id = ANY(%s::uuid[])",
    "system": """
        SELECT id, name, kind, environment, data_class, confidential
        FROM catalog_system WHERE id = ANY(%s::uuid[])""",
    "grant": """
        SELECT id, agent_id, server_id, status, tools, all_tools, on_behalf_of, behalf_detail, valid_until
        FROM trust_grant WHERE id = ANY(%s::uuid[])""",
    "connection": """
        SELECT id, server_id, system_id, status, access, scopes, valid_until
        FROM trust_connection WHERE id = ANY(%s::uuid[])""",
    "person": "SELECT id, name FROM accounts_user WHERE id = ANY(%s::uuid[])",
    "team": "SELECT id, name FROM accounts_team WHERE id = ANY(%s::uuid[])",
    "issuer": "SELECT id, name FROM catalog_issuer WHERE id = ANY(%s::uuid[])",
    "secret_source": "SELECT id, kind, reference FROM catalog_secretsource WHERE id = ANY(%s::uuid[])",
}
ENDS: Mapping[str, tuple[str, str]] = {"grant": ("agent", "server"), "connection": ("server", "system")}
"""What a relationship leads from and to."""


def _fetched(refs: Iterable[Ref], as_of: datetime | None) -> dict[Ref, dict[str, Any]]:
    """A statement per kind, all in one journey: on a busy machine each journey waits its turn."""
    wanted: dict[str, list[str]] = {}
    for kind, id in set(refs):
        # As text of the whole array: to turn each id into SQL by itself would take as long as to fetch its row.
        wanted.setdefault(kind, []).append(id.hex)
    if not wanted:
        return {}
    connection.ensure_connection()
    cursors = {kind: connection.cursor() for kind in wanted}
    with connection.connection.pipeline():
        for kind, ids in wanted.items():
            sql, params = _STATEMENTS[kind], [f"{{{','.join(ids)}}}"]
            cursors[kind].execute(*(laid_back(sql, params, as_of) if as_of else (sql, params)))
    found: dict[Ref, dict[str, Any]] = {}
    for kind, cursor in cursors.items():
        with cursor:
            columns = [column.name for column in cursor.description]
            for row in cursor.fetchall():
                found[kind, row[0]] = dict(zip(columns, row, strict=True))
    return found


def named(
    actor: Actor, refs: Iterable[Ref], *, ends: bool = False, as_of: datetime | None = None
) -> dict[Ref, dict[str, Any]]:
    """What the things of a page are called, or were at a past instant, in one statement per kind.

    Of an agent, server or system also its environment and what tells it apart, of an agent the name of its owner; of a
    grant or connection its terms and the ids of its ends. `ends`: these are named too. People and teams go by their
    present names. For things that an answer lists:
    it has left out already what `actor` may not see. What turned confidential since then is left out here.
    """
    found = _fetched(refs, as_of)
    if ends:
        relationships = [(kind, facts) for (kind, _id), facts in found.items() if kind in ENDS]
        found |= _fetched(((end, facts[f"{end}_id"]) for kind, facts in relationships for end in ENDS[kind]), as_of)
    if not may_see_all(actor):
        for kind, model in _MODELS.items():
            doubtful = {id for of, id in found if of == kind and found[of, id]["confidential"]}
            if not doubtful:
                continue
            seen = set(model.objects.visible_to(actor).filter(pk__in=doubtful).values_list("pk", flat=True))
            for id in doubtful - seen:
                del found[kind, id]
    return found
