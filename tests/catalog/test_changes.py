"""Changes of the trust graph are on record whoever makes them, with what was there before; nothing else is."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.utils import InternalError, ProgrammingError
from django.test.utils import CaptureQueriesContext

from registry.accounts.models import User
from registry.catalog.changes import told_at
from registry.catalog.models import Agent, Change, SecretSource, Server, System, Tool
from registry.core import clock
from registry.core.ids import new_id
from registry.trust.models import Combination, Connection, Grant, Observation
from tests import factories as make

pytestmark = pytest.mark.django_db


def of(thing: Any) -> list[Change]:
    return list(Change.objects.filter(thing_id=thing.pk))


def test_creation_is_on_record_without_a_before() -> None:
    agent = make.agent()
    (change,) = of(agent)
    assert (change.kind, change.operation, change.before, change.at) == ("agent", "created", None, agent.created_at)


def test_a_change_keeps_what_was_before_also_when_plain_sql_makes_it() -> None:
    system = make.system(data_class="internal")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE catalog_system SET data_class = 'restricted' WHERE id = %s", [system.pk])
        cursor.execute("SELECT now()")
        transaction_time = cursor.fetchone()[0]
    change = of(system)[-1]
    assert (change.kind, change.operation, change.before["data_class"]) == ("system", "changed", "internal")
    assert change.before["id"] == str(system.pk)
    assert change.at == transaction_time


def test_a_row_that_tells_its_time_is_believed() -> None:
    earlier = clock.now() - timedelta(days=30)
    agent = make.agent()
    with clock.at(earlier):
        agent.name = "Forecast"
        agent.save()
    assert of(agent)[-1].at == earlier
    with clock.at(earlier):  # the same instant again, as when a story is told
        agent.name = "Forecaster"
        agent.save()
    assert of(agent)[-1].at == earlier


def test_a_conclusion_told_of_the_past_stands_in_the_past() -> None:
    earlier = clock.now() - timedelta(days=30)
    server = make.active_server()
    with told_at(earlier):
        Server.objects.filter(pk=server.pk).update(tier="critical")
        with told_at(earlier + timedelta(days=1)):
            Server.objects.filter(pk=server.pk).update(tier="high")
        Server.objects.filter(pk=server.pk).update(tier="medium")
    Server.objects.filter(pk=server.pk).update(tier="low")
    at = [change.at for change in of(server)[-4:]]
    assert at[:3] == [earlier, earlier + timedelta(days=1), earlier]
    assert at[3] > earlier + timedelta(days=2)


def test_a_story_that_fails_leaves_the_present() -> None:
    server = make.active_server()
    with pytest.raises(IntegrityError), told_at(clock.now() - timedelta(days=30)), transaction.atomic():
        Server.objects.filter(pk=server.pk).update(deputy=server.owner)
    before = clock.now() - timedelta(minutes=5)
    Server.objects.filter(pk=server.pk).update(tier="critical")
    assert of(server)[-1].at > before


def test_what_is_not_material_leaves_no_trace() -> None:
    server = make.active_server()
    before = len(of(server))
    Server.objects.filter(pk=server.pk).update(description="Other words.", website_url="https://example.test")
    Server.objects.filter(pk=server.pk).update(title=server.title)
    tool = server.tools.first()
    tools = len(of(tool))
    Tool.objects.filter(pk=tool.pk).update(definition={"description": "longer"})
    assert (len(of(server)), len(of(tool))) == (before, tools)
    Tool.objects.filter(pk=tool.pk).update(definition={"annotations": {"openWorldHint": True}})
    assert len(of(tool)) == tools + 1


MATERIAL: list[tuple[Any, str, Any]] = [
    (Agent, "standing", "retired"), (Agent, "confidential", True), (Agent, "admitted", [new_id()]),
    (Agent, "name", "Other"), (Server, "lifecycle", "suspended"), (Server, "tier", "critical"),
    (Server, "certified_until", clock.now()), (System, "standing", "retired"), (SecretSource, "reference", "kv/x"),
    (Tool, "confirmed_class", "execute"), (Grant, "status", "suspended"), (Grant, "tools", ["export"]),
    (Grant, "certified_until", clock.now()), (Connection, "access", "admin"), (Connection, "valid_until", clock.now()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "field", "value"),
    MATERIAL,
    ids=lambda each: each if isinstance(each, str) else getattr(each, "__name__", type(each).__name__),
)
def test_every_kind_and_what_counts(model: Any, field: str, value: Any) -> None:
    grant = make.grant()
    connection_ = make.connection(server=grant.server)
    things = {
        Agent: grant.agent, Server: grant.server, System: connection_.system, Grant: grant, Connection: connection_,
        SecretSource: connection_.secret_source, Tool: grant.server.tools.first(),
    }  # fmt: skip
    thing = things[model]
    before = len(of(thing))
    model.objects.filter(pk=thing.pk).update(**{field: value})
    changes = of(thing)
    assert len(changes) == before + 1
    assert field in changes[-1].before


def test_people_and_teams_by_name_and_issuers() -> None:
    person, team, issuer = make.person(), make.team(), make.issuer()
    person.name = "Another name"
    person.save()
    person.set_password("something else entirely")
    person.save()
    assert [(change.kind, change.operation) for change in of(person)] == [("person", "created"), ("person", "changed")]
    assert [change.kind for change in of(team)] == ["team"]
    assert [change.kind for change in of(issuer)] == ["issuer"]
    User.objects.filter(pk=person.pk).update(is_active=False)
    assert of(person)[-1].before["is_active"] is True


def test_combinations_and_observations() -> None:
    combination = Combination.objects.create(name="Pair", explanation="Both.", legs=[{"label": "a"}, {"label": "b"}])
    assert [change.kind for change in of(combination)] == ["combination"]
    grant = make.grant()
    now = clock.now()
    Observation.objects.bulk_create(
        Observation(
            agent=grant.agent, server=grant.server, period=now.date() - timedelta(days=day), first_used=now,
            last_used=now, calls=1,
        )
        for day in range(3)
    )  # fmt: skip
    assert Change.objects.filter(kind="observation").count() == 1, "one line for the statement"


def test_many_rows_cost_one_statement_more() -> None:
    made = [Agent(name=f"agent {n}", spiffe_id=f"spiffe://many.test/{n}", environment="test") for n in range(500)]
    with CaptureQueriesContext(connection) as captured:
        Agent.objects.bulk_create(made)
    assert len([each for each in captured if each["sql"].startswith("INSERT")]) == 1
    ids = [agent.pk for agent in made]
    assert Change.objects.filter(thing_id__in=ids, operation="created").count() == 500
    assert Agent.objects.filter(pk__in=ids).update(standing="retired") == 500
    changed = Change.objects.filter(thing_id__in=ids, operation="changed")
    assert changed.count() == 500
    assert {change.before["standing"] for change in changed} == {"active"}


def test_a_statement_of_one_transaction_bears_its_number() -> None:
    agent = make.agent()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text")
        assert str(of(agent)[0].xid) == cursor.fetchone()[0]


@pytest.mark.parametrize("act", [lambda rows: rows.update(kind="x"), lambda rows: rows.delete()])
def test_what_is_on_record_stays(act: Any) -> None:
    make.agent()
    with pytest.raises((InternalError, ProgrammingError)), transaction.atomic():
        act(Change.objects.all())


def test_a_change_tells_what_was_before() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Change.objects.create(kind="agent", thing_id=new_id(), operation="changed")
