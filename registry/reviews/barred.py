"""Who may not decide on which subject, for many subjects in one statement (invariant 3).

The same answer as `core.independence.bars` over each subject's `interested`, reason for reason: a launch asks it of a
hundred thousand things, and loading each of them with everybody around it would take minutes.
"""

from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from django.db import connection

from registry.catalog.models import Agent, Server
from registry.core.bulk import Sql, table_of, uuid_array
from registry.reviews.models import SubjectKind
from registry.trust.models import Connection, Grant

Bars = Mapping[UUID, list[str]]
"""Who is barred from one subject, with every reason."""

_SERVER = (
    ("owns the server", "owner_id"),
    ("deputises for its owner", "deputy_id"),
    ("operates the server", "operator_id"),
    ("registered the server", "created_by_id"),
    ("submitted the server", "submitted_by_id"),
)
_OF_SERVER = [(reason, f"server.{column}") for reason, column in _SERVER]
_BEHIND_AGENT = [(f"{reason} behind the agent", f"behind.{column}") for reason, column in _SERVER]
_AGENT = [("owns the agent", "agent.owner_id"), ("registered the agent", "agent.created_by_id"), *_BEHIND_AGENT]
_GRANT = [
    ("requested it", "about.requested_by_id"),
    ("owns the agent that gains from it", "agent.owner_id"),
    ("registered the agent", "agent.created_by_id"),
    *_BEHIND_AGENT,
    *_OF_SERVER,
]
_CONNECTION = [("requested it", "about.requested_by_id"), *_OF_SERVER]

_JOIN_SERVER = f"JOIN {table_of(Server)} server ON server.id = about.server_id"
_JOIN_AGENT = f"JOIN {table_of(Agent)} agent ON agent.id = about.agent_id"
_JOIN_BEHIND = f"LEFT JOIN {table_of(Server)} behind ON behind.id = agent.server_id"
_STAKES: Mapping[str, tuple[str, str, list[tuple[str, str]]]] = {
    SubjectKind.SERVER: ("server.id", f"{table_of(Server)} server", _OF_SERVER),
    SubjectKind.GRANT: ("about.id", f"{table_of(Grant)} about {_JOIN_SERVER} {_JOIN_AGENT} {_JOIN_BEHIND}", _GRANT),
    SubjectKind.CONNECTION: ("about.id", f"{table_of(Connection)} about {_JOIN_SERVER}", _CONNECTION),
    SubjectKind.AGENT: ("agent.id", f"{table_of(Agent)} agent {_JOIN_BEHIND}", _AGENT),
}
"""By kind: its id, the tables around it, and what each person in them is to it."""


def barred(kind: str, ids: Collection[UUID] | Sql, *, among: Iterable[UUID] | None = None) -> dict[UUID, Bars]:
    """For each subject the people who are barred from it; subjects nobody is barred from are left out.

    `ids` may be SQL that yields them. With `among` only these people: whoever cannot be asked anyway need not be
    listed.
    """
    subject, source, stakes = _STAKES[kind]
    rows = ", ".join(f"({number}, %s, {column})" for number, (_reason, column) in enumerate(stakes))
    wanted = ids if isinstance(ids, Sql) else Sql(f"SELECT unnest({uuid_array(ids)})")
    only = concerned = ""
    if among is not None:
        people = uuid_array(among)
        only = f"AND stake.person = ANY({people})"
        # Most subjects concern none of them: those are out before a row is made of every stake.
        concerned = f"AND ({' OR '.join(f'{column} = ANY({people})' for _reason, column in stakes)})"
    sql = f"""
        SELECT {subject}, stake.person, array_agg(stake.reason ORDER BY stake.number)
        FROM {source} CROSS JOIN LATERAL (VALUES {rows}) stake(number, reason, person)
        WHERE {subject} IN ({wanted.text}) AND stake.person IS NOT NULL {only} {concerned}
        GROUP BY 1, 2
    """  # noqa: S608 - made of constants above and of ids
    found: dict[UUID, dict[UUID, list[str]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(sql, [*(reason for reason, _column in stakes), *wanted.params])
        for subject_id, person, reasons in cursor.fetchall():
            found.setdefault(subject_id, {})[person] = reasons
    return dict(found)
