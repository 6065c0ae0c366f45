"""The state that answers are computed from: what is read, kept, laid over and thrown away."""

import threading
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from registry.catalog.models import Agent, Server
from registry.core import clock
from registry.core.actors import Actor
from registry.trust import services
from registry.trust.graph import loading, store
from registry.trust.models import Connection, Grant
from registry.trust.queries import ask
from tests import factories as make
from tests.trust import worlds
from tests.trust.reference import Reference
from tests.trust.test_graph import compare_impact, only, seen, shown, some_hidden

ANYONE = Actor.system("tests")


def compare(where: str, questions: Any, reference: Reference, hidden: Any) -> None:
    """Reach, access and one impact of everything that may be seen."""
    for agent in seen(hidden, "agent", reference.agents):
        answer = questions.reach(agent)
        systems, servers = reference.reach(agents=[agent])
        assert shown(answer.systems, "hops", "access", "certified") == only(systems, seen(hidden, "system", systems)), (
            where
        )
        assert answer.counts == {"systems": len(systems), "servers": len(servers)}, where
    for system in seen(hidden, "system", reference.systems):
        agents = reference.access(system)
        answer = questions.access(system)
        assert shown(answer.agents, "hops", "access", "certified") == only(agents, seen(hidden, "agent", agents)), where
    for server in sorted(seen(hidden, "server", reference.servers))[:2]:
        compare_impact(where, questions._stand, reference, hidden, "server", server)


@pytest.mark.django_db
@pytest.mark.parametrize("number", range(60))
def test_the_database_answers_as_the_reference_now_and_then(number: int) -> None:
    """Written, changed by plain SQL, asked about before and after; seen by somebody who may not see everything."""
    random = Random(f"stored {number}")  # noqa: S311
    made = worlds.storable(worlds.world(random))
    hidden = some_hidden(made)
    begun, changed = worlds.START - timedelta(days=2), worlds.START + timedelta(hours=1)
    # Both are asked at the same instant of the world's own time; the change is on record as later than that.
    with clock.at(begun):
        viewer = make.person("member" if hidden is not None else "security")
    worlds.stored(made, hidden, written=begun)
    actor = make.acting(viewer)
    with clock.at(worlds.START):
        compare(f"world {number} at first", ask(actor), made.reference, hidden)
    after = worlds.moved_on(made, changed)
    with clock.at(worlds.START):
        compare(f"world {number} changed", ask(actor), after.reference, hidden)
    # The clock stands later now, so that the same instant is the past.
    with clock.at(changed + timedelta(hours=1)):
        compare(f"world {number} as it was", ask(actor, as_of=worlds.START), made.reference, hidden)
        assert ask(actor, as_of=begun - timedelta(days=1)).stats().counts["grants"] == 0


def test_what_one_may_not_see_is_what_the_catalog_hides(db: Any) -> None:
    """The mask of a standpoint follows `visible_to`, for everybody and every kind."""
    team_mate = make.person()
    team = make.team(team_mate)
    for confidential in (True, False):
        make.agent(confidential=confidential, team=team)
        make.system(confidential=confidential)
    secret = make.active_server()
    Server.objects.filter(pk=secret.pk).update(confidential=True)
    admitted = make.person("reviewer")
    Agent.objects.filter(confidential=True).update(admitted=[admitted.pk])
    for viewer in (team_mate, admitted, secret.owner, secret.deputy, make.person(), make.person("security")):
        actor = make.acting(viewer)
        stand = ask(actor)._stand
        for kind, model in (("agent", Agent), ("server", Server)):
            named = set(model.objects.visible_to(actor).values_list("pk", flat=True))
            nodes, hides = stand.nodes(kind), stand.hides(kind)
            got = {
                nodes.ids.uuid(place) for place in range(len(nodes))
                if nodes.state[place] and (hides is None or not hides[place])
            }  # fmt: skip
            assert got == named, (kind, viewer.roles)


# --- Kept, laid over, thrown away -------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
class TestKept:
    def reach(self, grant: Grant) -> set[Any]:
        return {row.id for row in ask(ANYONE).reach(grant.agent_id).servers}

    @pytest.fixture(autouse=True)
    def forget(self, transactional_db: Any) -> Any:
        store.forget()
        yield
        store.forget()

    def test_a_question_costs_one_statement_while_nothing_changes(self) -> None:
        grant = make.grant()
        ask(ANYONE)
        with CaptureQueriesContext(connection) as captured:
            assert self.reach(grant) == {grant.server_id}
        assert len(captured) == 1

    def test_a_change_is_in_the_next_answer_and_only_it_is_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        grant, other = make.grant(), make.grant()
        before = ask(ANYONE).data_version
        read = []
        original = loading.read
        monkeypatch.setattr(loading, "read", lambda *given: read.append(given[2].ids) or original(*given))
        services.suspend_relationship(actor=ANYONE, relationship=grant, reason="Odd traffic.")
        assert self.reach(grant) == set()
        assert self.reach(other) == {other.server_id}
        assert ask(ANYONE).data_version != before
        (ids,) = read
        assert {kind: len(values) for kind, values in ids.items() if len(values)}["grant"] == 1

    def test_the_version_stands_still_while_nothing_changes(self) -> None:
        grant = make.grant()
        version = ask(ANYONE).data_version
        Server.objects.filter(pk=grant.server_id).update(description="Other words, nothing of the graph.")
        assert ask(ANYONE).data_version == version
        Server.objects.filter(pk=grant.server_id).update(title="Another name")
        assert ask(ANYONE).data_version != version

    def test_another_process_comes_to_the_same_version(self) -> None:
        make.grant()
        ask(ANYONE)
        make.grant()
        brought_up = ask(ANYONE).data_version
        store.forget()
        assert ask(ANYONE).data_version == brought_up

    def test_the_epoch_moves_when_validity_ends_without_a_change(self) -> None:
        grant = make.grant()
        questions = ask(ANYONE)
        with clock.at(grant.valid_until):
            later = ask(ANYONE)
            assert later.reach(grant.agent_id).counts["servers"] == 0
        assert later.data_version == questions.data_version
        assert later.epoch > questions.epoch

    def test_what_is_not_committed_is_seen_by_its_transaction_and_never_kept(self) -> None:
        grant = make.grant()
        version = ask(ANYONE).data_version
        with transaction.atomic():
            Grant.objects.filter(pk=grant.pk).update(status="suspended")
            assert self.reach(grant) == set()
            inside = ask(ANYONE).data_version
            with transaction.atomic():
                Grant.objects.filter(pk=grant.pk).update(status="active")
                assert self.reach(grant) == {grant.server_id}
                assert ask(ANYONE).data_version != inside
                transaction.set_rollback(True)
            assert self.reach(grant) == set()
            assert in_thread(lambda: self.reach(grant)) == {grant.server_id}
            transaction.set_rollback(True)
        assert self.reach(grant) == {grant.server_id}
        assert ask(ANYONE).data_version == version

    def test_what_is_new_and_rolled_back_leaves_nothing(self) -> None:
        known = make.grant()
        ask(ANYONE)
        with transaction.atomic():
            made = make.grant()
            assert self.reach(made) == {made.server_id}
            transaction.set_rollback(True)
        other = make.grant()
        assert self.reach(other) == {other.server_id}
        assert self.reach(known) == {known.server_id}
        assert ask(ANYONE).stats().counts["grants"] == 2

    def test_a_transaction_that_began_earlier_and_commits_later_is_found(self) -> None:
        first, second = make.grant(), make.grant()
        ask(ANYONE)
        wrote, may_commit = threading.Event(), threading.Event()

        def slow() -> None:
            with transaction.atomic():
                Grant.objects.filter(pk=first.pk).update(status="suspended")
                wrote.set()
                assert may_commit.wait(20)

        writer = threading.Thread(target=closing(slow))
        writer.start()
        assert wrote.wait(20)
        Grant.objects.filter(pk=second.pk).update(status="suspended")
        assert self.reach(second) == set()
        assert self.reach(first) == {first.server_id}
        may_commit.set()
        writer.join()
        assert self.reach(first) == set()
        version = ask(ANYONE).data_version
        store.forget()
        assert ask(ANYONE).data_version == version

    def test_the_same_of_the_past(self) -> None:
        grant = make.grant()
        between = clock.now()
        assert ask(ANYONE, as_of=between).reach(grant.agent_id).counts["servers"] == 1
        version = ask(ANYONE, as_of=between).data_version
        wrote, may_commit = threading.Event(), threading.Event()

        def slow() -> None:
            with transaction.atomic():
                Grant.objects.filter(pk=grant.pk).update(status="suspended", updated_at=between - timedelta(seconds=1))
                wrote.set()
                assert may_commit.wait(20)

        writer = threading.Thread(target=closing(slow))
        writer.start()
        assert wrote.wait(20)
        assert ask(ANYONE, as_of=between).reach(grant.agent_id).counts["servers"] == 1
        may_commit.set()
        writer.join()
        assert ask(ANYONE, as_of=between).reach(grant.agent_id).counts["servers"] == 0
        assert ask(ANYONE, as_of=between).data_version != version

    def test_readers_never_see_half_of_a_commit(self) -> None:
        """A writer moves a grant between two agents in one transaction; every answer shows it exactly once."""
        grant = make.grant()
        spare = make.grant(server=grant.server)
        Grant.objects.filter(pk=spare.pk).update(status="suspended")
        troubles: list[str] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                questions = ask(ANYONE)
                counts = [questions.reach(each.agent_id).counts["servers"] for each in (grant, spare)]
                if sum(counts) != 1:
                    troubles.append(f"in force: {counts}")

        readers = [threading.Thread(target=closing(read)) for _ in range(3)]
        for reader in readers:
            reader.start()
        for turn in range(30):
            with transaction.atomic():
                off, on = (grant, spare) if turn % 2 == 0 else (spare, grant)
                Grant.objects.filter(pk=off.pk).update(status="suspended")
                Grant.objects.filter(pk=on.pk).update(status="active")
        done.set()
        for reader in readers:
            reader.join()
        assert not troubles, troubles[:3]
        assert self.reach(grant) == {grant.server_id}

    def test_an_emptied_database_is_noticed(self) -> None:
        grant = make.grant()
        assert self.reach(grant) == {grant.server_id}
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE catalog_change, trust_grant, trust_connection CASCADE")
        assert self.reach(grant) == set()
        again = make.grant(agent=grant.agent)
        assert self.reach(again) == {again.server_id}

    def test_changes_of_a_restored_copy_do_not_count_as_news_for_ever(self) -> None:
        grant = make.grant()
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE catalog_change DISABLE TRIGGER USER")
            cursor.execute("UPDATE catalog_change SET xid = '9000000000000'")
            cursor.execute("ALTER TABLE catalog_change ENABLE TRIGGER USER")
        store.forget()
        kept = store.present()
        assert store.present() is kept
        Grant.objects.filter(pk=grant.pk).update(status="suspended")
        assert self.reach(grant) == set()

    def test_many_changes_are_sorted_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loading, "TAIL", 3)
        grants = [make.grant() for _ in range(3)]
        for grant in grants:
            Grant.objects.filter(pk=grant.pk).update(tools=["export"])
            assert self.reach(grant) == {grant.server_id}
        assert len(store.present().snapshot.grants.tail) <= 3
        Grant.objects.update(status="suspended")
        assert [self.reach(grant) for grant in grants] == [set()] * 3


def closing(act: Any) -> Any:
    """`act` for a thread, whose connection is closed at its end."""

    def run() -> None:
        try:
            act()
        finally:
            connection.close()

    return run


def in_thread(ask_there: Any) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=closing(lambda: found.append(ask_there())))
    thread.start()
    thread.join()
    return found[0]


def test_a_connection_is_read_with_its_terms(db: Any) -> None:
    made = make.connection(access="admin")
    Connection.objects.filter(pk=made.pk).update(access="read")
    (row,) = ask(ANYONE).blast_radius("server", made.server_id).systems
    assert (row.id, row.access) == (made.system_id, "read")
