"""The log: complete under many writers, and any later change in the database is found and named."""

import multiprocessing
import threading
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.db.utils import DatabaseError

from registry.audit import notes, tasks
from registry.audit.log import EMPTY, event_hash
from registry.audit.merkle import Frontier
from registry.audit.models import Batch, Checkpoint, Event, Seal, Subtree
from registry.audit.queries import log_state, trouble, verify_log
from registry.audit.services import build_event, record, record_all, seal_events, sealing, sign_checkpoint
from registry.audit.services.sealing import BrokenLog, unsettled_since
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


def acting_late():
    """An act for a thread of its own, and the events of its being written and its being allowed to commit."""
    written, may_commit = threading.Event(), threading.Event()

    def late():
        with transaction.atomic():
            assert not Event.objects.filter(act="thing.late").exists()  # begins the transaction
            record(actor=SYSTEM, act="thing.late", subject=Thing())
            written.set()
            may_commit.wait(10)

    return late, written, may_commit


def write_apart(number):
    """Each in a transaction of its own."""
    for _ in range(number):
        write()
    connection.close()


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


def delete(event):
    tamper(
        ("DELETE FROM audit_seal WHERE event_id = %s", event.pk),
        ("DELETE FROM audit_event WHERE id = %s", event.pk),
    )


def smuggle(event, *, position, batch):
    tamper(
        ("UPDATE audit_seal SET position = -position WHERE position >= %s", position),
        ("UPDATE audit_seal SET position = -position + 1 WHERE position < 0",),
        (
            "INSERT INTO audit_seal (event_id, batch_id, position, leaf_hash) VALUES (%s, %s, %s, %s)",
            event.pk,
            batch,
            position,
            event_hash(event).hex(),
        ),
    )


def rewrite(victim):
    """Change an event and every hash that follows from it."""
    victim.act = "thing.undone"
    tamper(
        ("UPDATE audit_event SET act = 'thing.undone' WHERE id = %s", victim.pk),
        ("UPDATE audit_seal SET leaf_hash = %s WHERE event_id = %s", event_hash(victim).hex(), victim.pk),
    )
    tree = Frontier()
    for batch in Batch.objects.order_by("number"):
        leaves = Seal.objects.filter(batch=batch).order_by("position").values_list("leaf_hash", flat=True)
        list(tree.extend(bytes.fromhex(leaf) for leaf in leaves))
        tamper(("UPDATE audit_batch SET root_hash = %s WHERE number = %s", tree.root.hex(), batch.number))


def cut():
    """The last of the three batches."""
    tamper(
        ("DELETE FROM audit_event WHERE id IN (SELECT event_id FROM audit_seal WHERE batch_id = 3)",),
        ("DELETE FROM audit_seal WHERE batch_id = 3",),
        ("DELETE FROM audit_batch WHERE number = 3",),
    )


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
        report = verify_log()
        assert report.verified and (report.events, report.batches, report.tree_size) == (12, 3, 12)
        assert list(Seal.objects.values_list("position", flat=True)) == list(range(1, 13))
        assert log_state().root == report.root == Batch.objects.get(number=3).root_hash

    def test_an_empty_chain_verifies(self):
        report = verify_log()
        assert report.verified and report.root == EMPTY
        assert log_state().batches == 0

    def test_nothing_new_makes_no_batch(self, chain):
        assert seal_events() == 0 and Batch.objects.count() == 3

    def test_a_long_queue_is_sealed_in_parts(self):
        write(7)
        assert [seal_events(limit=3) for _ in range(4)] == [3, 3, 1, 0]
        assert verify_log().verified

    def test_the_frequent_run_looks_only_at_what_is_recent(self):
        with transaction.atomic():
            old = build_event(actor=SYSTEM, act="thing.done", subject=Thing())
            old.at = clock.now() - timedelta(days=3)
            record_all([old])
        write()
        assert seal_events(since=clock.now() - timedelta(days=1)) == 1
        assert seal_events() == 1
        assert verify_log().verified

    def test_the_frequent_run_does_not_read_again_what_has_its_seal(self):
        with clock.at(clock.now() - timedelta(hours=1)):
            write(5)
        assert unsettled_since() is None
        assert tasks.seal() == 5
        assert unsettled_since() > clock.now() - timedelta(minutes=30)
        assert tasks.seal() == 0 and Batch.objects.count() == 1

    def test_a_look_that_leaves_something_settles_nothing(self, monkeypatch):
        monkeypatch.setattr(sealing, "APART", timedelta(0))
        write(7)
        assert [seal_events(limit=3, since=unsettled_since()) for _ in range(4)] == [3, 3, 1, 0]

    def test_neither_does_one_that_begins_later(self):
        with clock.at(clock.now() - timedelta(days=3)):
            write()
        write()
        assert seal_events(since=clock.now() - timedelta(days=1)) == 1
        assert tasks.seal() == 1

    def test_what_is_written_after_a_clock_was_set_back_is_not_overlooked(self):
        with clock.at(clock.now() + timedelta(days=1)):
            write()
            assert tasks.seal() == 1
        write()
        assert tasks.seal() == 1 and verify_log().verified

    def test_what_differing_clocks_hide_is_found_by_the_wider_look(self):
        write()
        tasks.seal()
        for age, task in ((timedelta(hours=1), tasks.seal_recent), (timedelta(days=9), tasks.seal_rest)):
            with clock.at(clock.now() - age):
                write()
            assert (tasks.seal(), task()) == (0, 1)

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
        assert seal_events() == 1 and verify_log().verified
        assert Event.objects.get().data["big"] == str(2**70)

    def test_the_digest_survives_the_database(self):
        event = write(1, ratio=1.0, nested={"b": [1, None], "a": True})[0]
        assert event_hash(event) == event_hash(Event.objects.get(pk=event.pk))

    def test_nothing_is_built_on_a_tree_that_was_changed(self, chain):
        """The frontier of twelve entries is read from their leaf hashes."""
        tamper(("UPDATE audit_seal SET leaf_hash = %s WHERE position = 11", "0" * 64))
        write()
        with pytest.raises(BrokenLog, match="another root"):
            seal_events()


class TestTampering:
    def test_triggers_refuse_it_in_the_first_place(self, chain):
        sign_checkpoint()
        for model in (Event, Batch, Seal, Checkpoint):
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
        assert verify_log().fault == f"event {victim.pk} at position 6 was changed"

    def test_a_moved_time_is_named(self, chain):
        tamper(("UPDATE audit_event SET at = at - interval '1 microsecond' WHERE id = %s", chain[0].pk))
        assert verify_log().fault == f"event {chain[0].pk} at position 1 was changed"

    def test_a_deleted_event_is_named(self, chain):
        tamper(("DELETE FROM audit_event WHERE id = %s", chain[6].pk))
        assert verify_log().fault == f"event {chain[6].pk} at position 7 is missing"

    @pytest.mark.parametrize("index", [0, 3, 6, 11])
    def test_an_event_deleted_with_its_seal_is_named(self, chain, index):
        delete(chain[index])
        assert verify_log().fault == f"the record at position {index + 1} is missing"

    def test_closing_the_gap_does_not_hide_a_deletion(self, chain):
        delete(chain[1])
        tamper(
            ("UPDATE audit_seal SET position = -position WHERE position > 2",),
            ("UPDATE audit_seal SET position = -position - 1 WHERE position < 0",),
        )
        assert verify_log().fault == "the record at position 4 is missing"
        tamper(("UPDATE audit_batch SET tree_size = tree_size - 1",))
        assert verify_log().fault.startswith("batch 1 was changed: the positions 1 to 3 ")

    def test_reordering_is_found(self, chain):
        tamper(
            ("UPDATE audit_seal SET position = -1 WHERE event_id = %s", chain[0].pk),
            ("UPDATE audit_seal SET position = 1 WHERE event_id = %s", chain[1].pk),
            ("UPDATE audit_seal SET position = 2 WHERE event_id = %s", chain[0].pk),
        )
        assert verify_log().fault.startswith("batch 1 was changed: the positions 1 to 4 ")

    def test_a_smuggled_event_is_found(self, chain):
        smuggle(write()[0], position=5, batch=1)
        assert "batch 1 holds 5 events, 4 were sealed" in verify_log().fault

    def test_a_change_with_a_matching_hash_is_found(self, chain):
        victim = chain[4]
        victim.act = "thing.undone"
        tamper(
            ("UPDATE audit_event SET act = 'thing.undone' WHERE id = %s", victim.pk),
            ("UPDATE audit_seal SET leaf_hash = %s WHERE event_id = %s", event_hash(victim).hex(), victim.pk),
        )
        assert verify_log().fault.startswith("batch 2 was changed: the positions 5 to 8 ")

    def test_a_missing_batch_is_found(self, chain):
        tamper(("DELETE FROM audit_batch WHERE number = 2",))
        assert verify_log().fault == "batch 2 is missing"
        tamper(("DELETE FROM audit_batch WHERE number = 3",))
        assert verify_log().fault == "batch 2 is missing"

    def test_a_kept_hash_that_was_changed_is_found(self, db):
        write(260)
        seal_events()
        assert Subtree.objects.count() == 1 and verify_log().verified
        tamper(("UPDATE audit_subtree SET root_hash = %s", "0" * 64))
        assert verify_log().fault == "the kept hash over the positions 1 to 256 was changed"
        tamper(("DELETE FROM audit_subtree",))
        assert not verify_log().verified
        with pytest.raises(BrokenLog):
            write()
            seal_events()

    def test_a_history_rewritten_in_all_its_hashes_has_another_root(self, chain):
        """Whoever changes an old event cannot keep the root that others noted."""
        noted = log_state().root
        rewrite(chain[0])
        assert verify_log().verified, "nothing inside the database can show this"
        assert not verify_log(known_root=noted).verified

    def test_a_history_rewritten_after_it_was_signed_is_found(self, chain):
        signed = sign_checkpoint()
        rewrite(chain[0])
        assert "history was rewritten" in verify_log().fault
        write()
        seal_events()
        with pytest.raises(BrokenLog, match="rewritten"):
            sign_checkpoint()
        tamper(("DELETE FROM audit_checkpoint",))
        assert verify_log().verified, "nothing inside the database can show this"
        noted = notes.Checkpoint.parse(notes.Note.parse(signed.note).text)
        assert "history was rewritten" in verify_log(known=[noted]).fault

    def test_a_cut_off_end_is_found_by_the_checkpoint(self, chain):
        noted = log_state().root
        cut()
        assert verify_log().verified, "nothing inside the database can show this"
        assert "cut off" in verify_log(known_root=noted).fault

    def test_a_cut_off_end_that_was_signed_is_found(self, chain):
        sign_checkpoint()
        cut()
        assert "signed over 12 entries, the log ends at position 8" in verify_log().fault
        write()
        seal_events()
        with pytest.raises(BrokenLog, match="cut off"):
            sign_checkpoint()

    def test_an_emptied_table_is_found(self, chain):
        """TRUNCATE fires no trigger for rows."""
        signed = sign_checkpoint()
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("TRUNCATE audit_event, audit_seal, audit_batch, audit_subtree")
        assert "signed over 12 entries, the log ends at position 0" in verify_log().fault
        assert "cut off" in trouble()
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE audit_checkpoint, audit_anchor")
        noted = notes.Checkpoint.parse(notes.Note.parse(signed.note).text)
        assert "covers 12 entries, the log ends at position 0" in verify_log(known=[noted]).fault

    def test_a_root_that_the_log_still_had_is_fine(self, chain):
        noted = log_state().root
        write(2)
        seal_events()
        assert verify_log(known_root=noted).verified


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
        report = verify_log()
        assert report.verified and (report.events, log_state().unsealed) == (90, 0)

    def test_an_act_that_commits_late_is_sealed_late_and_not_lost(self):
        late, written, may_commit = acting_late()

        def others():
            written.wait(10)
            write(3)
            assert seal_events() == 3  # does not wait for the open transaction
            may_commit.set()

        self.run(late, others)
        assert seal_events() == 1
        assert verify_log().verified
        assert Seal.objects.get(position=4).event.act == "thing.late"

    def test_the_frequent_run_finds_what_commits_late(self, monkeypatch):
        """It begins where the oldest transaction that was writing did, however long ago that was."""
        monkeypatch.setattr(sealing, "APART", timedelta(0))
        late, written, may_commit = acting_late()

        def others():
            written.wait(10)
            write(3)
            assert tasks.seal() == 3
            write(2)
            assert tasks.seal() == 2
            may_commit.set()

        self.run(late, others)
        assert tasks.seal() == 1 and Seal.objects.get(position=6).event.act == "thing.late"

    def test_eight_processes_keep_one_valid_log(self):
        connection.close()
        fork = multiprocessing.get_context("fork")
        writers = [fork.Process(target=write_apart, args=(150,)) for _ in range(8)]
        for process in writers:
            process.start()
        while any(process.is_alive() for process in writers):
            tasks.seal()
        for process in writers:
            process.join()
        assert [process.exitcode for process in writers] == [0] * 8
        tasks.seal()
        report = verify_log()
        assert (report.fault, report.events, log_state().unsealed) == ("", 1200, 0)

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

    def test_verifying_while_others_seal_finds_nothing(self):
        """The verifier looks at one moment: a batch that appears between two of its statements is no gap."""
        stop = threading.Event()
        faults = []

        def keep_sealing():
            while not stop.is_set():
                write(2)
                seal_events()

        def keep_verifying():
            try:
                faults.extend(verify_log().fault for _ in range(8))
            finally:
                stop.set()

        self.run(keep_sealing, keep_verifying)
        assert faults == [""] * 8 and Batch.objects.count() > 1
