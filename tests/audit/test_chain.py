"""The chain: complete under many writers, and any later change is found and named."""

import threading
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.db.utils import DatabaseError

from registry.audit.models import Batch, Event, Seal
from registry.audit.queries import chain_state, verify_chain
from registry.audit.services import (
    GENESIS,
    build_event,
    chain_hash,
    event_digest,
    record,
    record_all,
    seal_events,
)
from registry.core import clock
from registry.core.actors import Actor
from registry.core.ids import new_id

SYSTEM = Actor.system("tests")


class Thing:
    subject_type = "thing"

    def __init__(self, name="Thing"):
        self.pk: UUID = new_id()
        self.name = name

    def __str__(self):
        return self.name


def write(number=1, **data):
    with transaction.atomic():
        return [record(actor=SYSTEM, act="thing.done", subject=Thing(), data={"n": n, **data}) for n in range(number)]


def tamper(*statements):
    """What somebody with full rights on the database could do: the triggers are out of the way."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what is pending is checked before it is broken
        cursor.execute("SET session_replication_role = replica")
        try:
            for statement, *parameters in statements:
                cursor.execute(statement, parameters)
        finally:
            cursor.execute("SET session_replication_role = DEFAULT")
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")


@pytest.fixture
def chain(db):
    """Three batches of four events."""
    events = []
    for _ in range(3):
        events += write(4)
        seal_events()
    return events


class TestSealing:
    pytestmark = pytest.mark.django_db

    def test_everything_is_sealed_once_and_verifies(self, chain):
        report = verify_chain()
        assert report.verified and (report.events, report.batches, report.unsealed) == (12, 3, 0)
        assert list(Seal.objects.values_list("position", flat=True)) == list(range(1, 13))
        assert chain_state().head == report.head == Batch.objects.get(number=3).chain_hash

    def test_an_empty_chain_verifies(self):
        report = verify_chain()
        assert report.verified and report.head == GENESIS
        assert chain_state().batches == 0

    def test_nothing_new_makes_no_batch(self, chain):
        assert seal_events() == 0 and Batch.objects.count() == 3

    def test_a_long_queue_is_sealed_in_parts(self):
        write(7)
        assert [seal_events(limit=3) for _ in range(4)] == [3, 3, 1, 0]
        assert verify_chain().verified

    def test_the_frequent_run_looks_only_at_what_is_recent(self):
        with transaction.atomic():
            old = build_event(actor=SYSTEM, act="thing.done", subject=Thing())
            old.at = clock.now() - timedelta(days=3)
            record_all([old])
        write()
        assert seal_events(since=clock.now() - timedelta(days=1)) == 1
        assert seal_events() == 1
        assert verify_chain().verified

    def test_an_event_cannot_be_written_without_its_act(self, transactional_db):
        with pytest.raises(RuntimeError, match="outside a transaction"):
            record(actor=SYSTEM, act="thing.done", subject=Thing())

    def test_a_rolled_back_act_leaves_no_event(self):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            write()
            1 / 0  # noqa: B018
        assert not Event.objects.exists()

    def test_what_json_cannot_hold_exactly_does_not_stop_the_chain(self):
        write(1, big=2**70, nan=float("nan"), small=-5, ratio=0.5, when=clock.now(), text="Zoë → 名")
        assert seal_events() == 1 and verify_chain().verified
        assert Event.objects.get().data["big"] == str(2**70)

    def test_the_digest_survives_the_database(self):
        event = write(1, ratio=1.0, nested={"b": [1, None], "a": True})[0]
        assert event_digest(event) == event_digest(Event.objects.get(pk=event.pk))


class TestTampering:
    def test_triggers_refuse_it_in_the_first_place(self, chain):
        for model in (Event, Batch, Seal):
            row = model.objects.first()
            with pytest.raises(DatabaseError, match="Cannot"), transaction.atomic():
                row.save(force_update=True)
            with pytest.raises(DatabaseError, match="Cannot"), transaction.atomic():
                model.objects.filter(pk=row.pk)._raw_delete("default")

    @pytest.mark.parametrize(
        "column_and_value",
        [
            ("act", "thing.undone"),
            ("actor_label", "Somebody else"),
            ("subject_label", "Another thing"),
            ("request_id", "forged"),
            ("data", '{"n": 99}'),
        ],
    )
    def test_a_changed_event_is_named(self, chain, column_and_value):
        column, value = column_and_value
        victim = chain[5]
        tamper((f"UPDATE audit_event SET {column} = %s WHERE id = %s", value, victim.pk))  # noqa: S608
        assert verify_chain().fault == f"event {victim.pk} at position 6 was changed"

    def test_a_moved_time_is_named(self, chain):
        tamper(("UPDATE audit_event SET at = at - interval '1 microsecond' WHERE id = %s", chain[0].pk))
        assert verify_chain().fault == f"event {chain[0].pk} at position 1 was changed"

    def test_a_deleted_event_is_named(self, chain):
        tamper(("DELETE FROM audit_event WHERE id = %s", chain[6].pk))
        assert verify_chain().fault == f"event {chain[6].pk} at position 7 is missing"

    @pytest.mark.parametrize("index", [0, 3, 6, 11])
    def test_an_event_deleted_with_its_seal_is_named(self, chain, index):
        pk = chain[index].pk
        tamper(
            ("DELETE FROM audit_seal WHERE event_id = %s", pk),
            ("DELETE FROM audit_event WHERE id = %s", pk),
        )
        assert verify_chain().fault == f"the record at position {index + 1} is missing"

    def test_closing_the_gap_does_not_hide_a_deletion(self, chain):
        tamper(
            ("DELETE FROM audit_seal WHERE event_id = %s", chain[1].pk),
            ("DELETE FROM audit_event WHERE id = %s", chain[1].pk),
            ("UPDATE audit_seal SET position = -position WHERE position > 2",),
            ("UPDATE audit_seal SET position = -position - 1 WHERE position < 0",),
        )
        assert verify_chain().fault == "the record at position 4 is missing"
        tamper(("UPDATE audit_batch SET event_count = 3 WHERE number = 1",))
        assert verify_chain().fault == "batch 1 was changed"

    def test_reordering_is_found(self, chain):
        tamper(
            ("UPDATE audit_seal SET position = -1 WHERE event_id = %s", chain[0].pk),
            ("UPDATE audit_seal SET position = 1 WHERE event_id = %s", chain[1].pk),
            ("UPDATE audit_seal SET position = 2 WHERE event_id = %s", chain[0].pk),
        )
        assert verify_chain().fault == "batch 1 was changed"

    def test_a_smuggled_event_is_found(self, chain):
        extra = write()[0]
        tamper(
            ("UPDATE audit_seal SET position = -position WHERE position > 4",),
            ("UPDATE audit_seal SET position = -position + 1 WHERE position < 0",),
            (
                "INSERT INTO audit_seal (event_id, batch_id, position, digest) VALUES (%s, 1, 5, %s)",
                extra.pk,
                event_digest(extra),
            ),
        )
        assert verify_chain().fault == "batch 1 holds 5 events, 4 were sealed"

    def test_a_change_with_a_matching_digest_is_found(self, chain):
        victim = chain[4]
        victim.act = "thing.undone"
        tamper(
            ("UPDATE audit_event SET act = 'thing.undone' WHERE id = %s", victim.pk),
            ("UPDATE audit_seal SET digest = %s WHERE event_id = %s", event_digest(victim), victim.pk),
        )
        assert verify_chain().fault == "batch 2 was changed"

    def test_a_missing_batch_is_found(self, chain):
        tamper(("DELETE FROM audit_batch WHERE number = 2",))
        assert verify_chain().fault == "batch 2 is missing"
        tamper(("DELETE FROM audit_batch WHERE number = 3",))
        assert verify_chain().fault == "batch 2 is missing"

    def test_a_rewritten_batch_does_not_fit_the_next(self, chain):
        tamper(("UPDATE audit_batch SET previous_hash = %s WHERE number = 2", "f" * 64))
        assert verify_chain().fault == "batch 2 does not follow the one before it"

    def test_a_history_rewritten_in_all_its_links_has_another_head(self, chain):
        """Each link covers the one before it: whoever changes an old event cannot keep the head that others noted."""
        noted, victim = chain_state().head, chain[0]
        victim.act = "thing.undone"
        tamper(
            ("UPDATE audit_event SET act = 'thing.undone' WHERE id = %s", victim.pk),
            ("UPDATE audit_seal SET digest = %s WHERE event_id = %s", event_digest(victim), victim.pk),
        )
        head = GENESIS
        for number in (1, 2, 3):
            digests = list(Seal.objects.filter(batch_id=number).order_by("position").values_list("digest", flat=True))
            before, head = head, chain_hash(number, head, digests)
            tamper(
                ("UPDATE audit_batch SET previous_hash = %s, chain_hash = %s WHERE number = %s", before, head, number)
            )
        assert verify_chain().verified, "nothing inside the database can show this"
        assert not verify_chain(known_head=noted).verified

    def test_a_cut_off_end_is_found_by_whoever_noted_the_head(self, chain):
        noted = chain_state().head
        tamper(
            ("DELETE FROM audit_event WHERE id IN (SELECT event_id FROM audit_seal WHERE batch_id = 3)",),
            ("DELETE FROM audit_seal WHERE batch_id = 3",),
            ("DELETE FROM audit_batch WHERE number = 3",),
        )
        assert verify_chain().verified, "nothing inside the database can show this"
        assert "cut off" in verify_chain(known_head=noted).fault

    def test_a_head_that_is_still_a_link_is_fine(self, chain):
        noted = chain_state().head
        write(2)
        seal_events()
        assert verify_chain(known_head=noted).verified


class TestManyAtOnce:
    """On real connections and real commits."""

    pytestmark = pytest.mark.django_db(transaction=True)

    def run(self, *jobs):
        failures = []

        def guarded(job):
            try:
                job()
            except Exception as error:
                failures.append(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not failures and not any(thread.is_alive() for thread in threads)

    def test_writers_and_sealers_do_not_lose_or_repeat_an_event(self):
        writing = threading.Event()

        def writer():
            for _ in range(15):
                write(2)

        def sealer():
            while not writing.is_set():
                seal_events(limit=7)

        def writers():
            self.run(writer, writer, writer)
            writing.set()

        self.run(writers, sealer, sealer)
        while seal_events():
            pass
        report = verify_chain()
        assert report.verified and (report.events, report.unsealed) == (90, 0)

    def test_an_act_that_commits_late_is_sealed_late_and_not_lost(self):
        written, may_commit = threading.Event(), threading.Event()

        def late():
            with transaction.atomic():
                record(actor=SYSTEM, act="thing.late", subject=Thing())
                written.set()
                may_commit.wait(10)

        def others():
            written.wait(10)
            write(3)
            assert seal_events() == 3  # does not wait for the open transaction
            may_commit.set()

        self.run(late, others)
        assert seal_events() == 1
        assert verify_chain().verified
        assert Seal.objects.get(position=4).event.act == "thing.late"

    def test_an_act_does_not_wait_for_a_sealer(self):
        write(3)
        with transaction.atomic():
            assert seal_events() == 3
            done = threading.Event()

            def act():
                write()
                done.set()

            self.run(act)
            assert done.is_set()

    def test_a_second_sealer_steps_back(self):
        write(3)
        found = []
        with transaction.atomic():
            seal_events()
            self.run(lambda: found.append(seal_events()))
        assert found == [0]


@pytest.mark.django_db(transaction=True)
def test_verifying_while_others_seal_finds_nothing():
    """The verifier looks at one moment: a batch that appears between two of its statements is no gap."""
    stop = threading.Event()

    def keep_sealing():
        try:
            while not stop.is_set():
                write(2)
                seal_events()
        finally:
            connection.close()

    sealing = threading.Thread(target=keep_sealing)
    sealing.start()
    try:
        faults = {verify_chain().fault for _ in range(25)}
    finally:
        stop.set()
        sealing.join()
    assert faults == {""}
