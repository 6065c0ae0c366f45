"""The generated estate: complete, repeatable, and varied enough to try everything on."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from registry.audit.models import Event
from registry.catalog.models import Agent, Server, System
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.trust.estate import Size, generate_estate
from registry.trust.models import Connection, Grant
from registry.trust.queries import ask
from registry.trust.states import Status

pytestmark = pytest.mark.django_db

SMALL = Size(agents=300, servers=100, systems=20, relationships=2_400)


def rows(table: str, columns: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {table} ORDER BY 1")  # noqa: S608 - our own names
        return list(cursor.fetchall())


def made(seed: int) -> tuple[Any, ...]:
    """What an estate of a seed looks like, gone afterwards."""
    with transaction.atomic():
        generate_estate(size=SMALL, seed=seed)
        found = (
            rows("trust_grant", "id, agent_id, server_id, status, tools, all_tools, on_behalf_of"),
            rows("trust_connection", "id, server_id, system_id, status, access"),
            rows("catalog_server", "id, owner_id, deputy_id, tier, environment, lifecycle, confidential"),
        )
        transaction.set_rollback(True)
    return found


def test_the_same_seed_makes_the_same_estate_and_another_a_different_one() -> None:
    first = made(7)
    assert made(7) == first
    assert made(8) != first


def test_it_has_what_was_asked_for_in_every_state() -> None:
    counts = generate_estate(size=SMALL, seed=1)
    assert (Agent.objects.count(), Server.objects.count(), System.objects.count()) == (300, 100, 20)
    assert Grant.objects.count() + Connection.objects.count() == 2_400
    assert counts["grants"] == Grant.objects.count()
    states = set(Grant.objects.values_list("status", flat=True))
    assert states >= {Status.ACTIVE, Status.SUSPENDED, Status.REQUESTED, Status.EXPIRED, Status.REVOKED, Status.REDUCED}
    assert Grant.objects.filter(all_tools=True).exists()
    assert Agent.objects.filter(owner=None).exists()
    ends = Grant.objects.values_list("valid_until", flat=True)
    assert len(set(ends)) > 0.95 * len(ends), "dates are drawn, not all alike"
    assert Event.objects.filter(act="estate.generated").count() == 1
    # No agent lacks grants only because it has a high number.
    late = Agent.objects.order_by("-pk")[:100]
    assert Grant.objects.filter(agent__in=[agent.pk for agent in late]).values("agent").distinct().count() > 80


def test_its_past_can_be_asked_for() -> None:
    generate_estate(size=SMALL, seed=1)
    actor = Actor.system("tests")
    long_ago, lately = (clock.now() - timedelta(days=days) for days in (250, 20))
    counts = [ask(actor, as_of=instant).stats().counts["grants"] for instant in (long_ago, lately)]
    assert 0 < counts[0] < counts[1]
    assert ask(actor).difference(lately).counts["vanished"] > 0


def test_one_estate_per_database_and_only_sizes_that_exist() -> None:
    generate_estate(size=SMALL, seed=1)
    with pytest.raises(Conflict):
        generate_estate(size=SMALL, seed=2)
    with pytest.raises(Invalid) as refused:
        Size(agents=0)
    assert set(refused.value.fields) == {"agents"}
    with pytest.raises(Invalid) as refused:
        Size(agents=10, servers=10, systems=4, relationships=1_000)
    assert set(refused.value.fields) == {"relationships"}


def test_the_command_says_what_it_made_and_what_is_wrong() -> None:
    out = StringIO()
    call_command("generate_estate", agents=200, servers=60, systems=10, relationships=1_500, seed=3, stdout=out)
    assert "60 servers" in out.getvalue()
    with pytest.raises(CommandError, match="already"):
        call_command("generate_estate", agents=200, servers=60, systems=10, relationships=1_500, stdout=out)
    with pytest.raises(CommandError, match="agents"):
        call_command("generate_estate", agents=0, stdout=out)
