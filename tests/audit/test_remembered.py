"""What remembers the log shows when its end is gone; what is changed beside the signed text is named; wrong clocks."""

from contextlib import contextmanager
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import CommandError, call_command
from django.db import connection

from registry.audit import notes, tasks
from registry.audit.log import log_records
from registry.audit.models import Anchor, Batch, Checkpoint, Event, LogKey, Seal, Verification
from registry.audit.queries import public_keys, trouble, verify_log
from registry.audit.services import (
    check_log,
    export_log,
    rotate_key,
    seal_events,
    sign_checkpoint,
    tell_anchors,
)
from registry.audit.services.sealing import BrokenLog
from registry.audit.signing import WrongClock
from registry.audit.verifier import read_checkpoints, verify_file
from registry.core import clock
from registry.core.actors import Actor
from tests.audit.test_chain import tamper, write

pytestmark = pytest.mark.django_db

# The event of the key, at position 5, stays and waits for its seal, as it did when the first four were signed.
CUT = (
    ("DELETE FROM audit_event WHERE id IN (SELECT event_id FROM audit_seal WHERE position > 5)",),
    ("DELETE FROM audit_seal WHERE position > 4",),
    ("DELETE FROM audit_batch WHERE tree_size > 4",),
    ("DELETE FROM audit_checkpoint WHERE tree_size > 4",),
)
EMPTIED = ["event", "seal", "batch", "subtree", "checkpoint", "logkey"]


def empty(*tables):
    tamper(*((f"DELETE FROM audit_{table}",) for table in tables))  # noqa: S608


@pytest.fixture
def log(settings, tmp_path):
    """Seven entries in two batches, signed after each; the fifth tells of the key."""
    settings.AUDIT_SIGNING_KEY_FILE = str(tmp_path / "key.pem")
    for number in (4, 2):
        write(number)
        seal_events()
        signed = sign_checkpoint()
    return signed


@pytest.fixture
def anchor(log, settings, tmp_path):
    """A file that was told both checkpoints."""
    settings.AUDIT_ANCHOR_FILE = str(tmp_path / "anchors.txt")
    assert tell_anchors() == 2
    assert verify_log().verified and trouble() == ""
    return Path(settings.AUDIT_ANCHOR_FILE)


@contextmanager
def days_ahead(number):
    with clock.at(clock.now() + timedelta(days=number)):
        yield


class TestALostEnd:
    def refused(self, said):
        """Seen by the verifier and by whoever glances, and nothing is signed over it or told."""
        assert not verify_log().verified
        assert said in trouble()
        checkpoints = Checkpoint.objects.count()
        write()
        seal_events()
        with pytest.raises(BrokenLog):
            sign_checkpoint()
        tasks.sign()
        assert Checkpoint.objects.count() == checkpoints

    @pytest.mark.parametrize("gone", ["deleted", "emptied", "shortened"])
    def test_the_file_is_gone_or_ends_early(self, anchor, gone):
        text = anchor.read_text()
        if gone == "deleted":
            anchor.unlink()
        else:
            anchor.write_text("" if gone == "emptied" else next(notes.split_notes(text)))
        assert "was told checkpoint 2 and does not hold it" in verify_log().fault
        self.refused("ends before the checkpoint over 7" if gone == "shortened" else "is gone")
        assert Anchor.objects.get().failures == 1
        assert not anchor.exists() or anchor.read_text() != text, "it is not made to look whole again"
        anchor.write_text(text)
        assert trouble() != "" and verify_log().verified, "trouble until it is told again"
        with days_ahead(1):
            tasks.sign()
            assert trouble() == "" and verify_log().verified

    def test_cut_off_together_with_the_file(self, anchor):
        tamper(*CUT)
        anchor.unlink()
        assert "covers 7 entries, the log ends at position 4" in verify_log().fault
        self.refused("was told checkpoint 2, which is not there")

    def test_cut_off_together_with_the_row(self, anchor):
        tamper(*CUT)
        empty("anchor")
        assert "covers 7 entries, the log ends at position 4" in verify_log().fault
        self.refused("The anchor file covers 7 entries, the log has 4: its end was cut off")

    def test_only_the_checkpoint_is_gone(self, anchor):
        tamper(("DELETE FROM audit_checkpoint WHERE number = 2",))
        assert "was told checkpoint 2, which is not there" in verify_log().fault
        self.refused("was told checkpoint 2")

    def test_cut_off_after_it_was_verified(self, log):
        check_log(actor=Actor.system("tests"))
        tamper(*CUT)
        assert "The verification of" in verify_log().fault
        self.refused("its end was cut off")

    def test_rewritten_after_it_was_verified(self, log):
        check_log(actor=Actor.system("tests"))
        tamper(("UPDATE audit_verification SET root_hash = %s", "0" * 64))
        assert "history was rewritten" in trouble()
        assert not verify_log().verified

    def test_an_earlier_verification_of_many_is_held_against_it_too(self, log):
        check_log(actor=Actor.system("tests"))
        Verification.objects.create(by="x", tree_size=5, root_hash="0" * 64)
        assert "found 5 entries with the root 000" in verify_log().fault

    def test_what_a_verification_with_a_fault_saw_binds_nobody(self, log):
        Verification.objects.create(by="x", tree_size=99, root_hash="0" * 64, fault="something")
        assert verify_log().verified and sign_checkpoint() is not None

    @pytest.mark.parametrize("left", ["anchor", "verification", "logkey", "file"])
    def test_everything_emptied_but_one(self, anchor, left):
        check_log(actor=Actor.system("tests"))
        empty(*{*EMPTIED, "anchor", "verification"} - {left})
        if left != "file":
            anchor.unlink()
        assert not verify_log().verified

    def test_emptied_altogether_looks_like_a_new_one_and_says_so(self, log, settings):
        empty(*EMPTIED)
        report = verify_log()
        assert report.verified and not report.fully_vouched and "nothing elsewhere remembers" in report.remarks[0]
        with pytest.raises(CommandError) as ended:
            call_command("verify_audit")
        assert ended.value.returncode == 3

    def test_another_file_begins_from_the_first_checkpoint(self, anchor, settings, tmp_path):
        """The way on after a file was lost, or a backup restored: the settings say so, and then the log."""
        anchor.unlink()
        settings.AUDIT_ANCHOR_FILE = str(tmp_path / "second.txt")
        assert tell_anchors() == 2
        told = read_checkpoints((tmp_path / "second.txt").read_text(), public_keys())
        assert [each.tree_size for each in told] == [4, 7]
        assert verify_log().verified and trouble() == ""
        assert Event.objects.get(act="audit.anchor_moved").data["before"] == str(anchor)

    def test_after_a_backup_was_restored(self, anchor, settings, tmp_path):
        """The database is consistent with itself, the file knows more: nothing is signed until somebody decided."""
        first = Checkpoint.objects.get(number=1)
        tamper(*CUT, ("UPDATE audit_anchor SET told_number = 1, told_note = %s", first.note))
        self.refused("The anchor file covers 7 entries, the log has 4")
        settings.AUDIT_ANCHOR_FILE = str(tmp_path / "second.txt")
        tasks.seal()
        assert sign_checkpoint() and tell_anchors() == 2
        assert verify_log().verified and trouble() == ""
        noted = read_checkpoints(anchor.read_text(), public_keys())
        assert not verify_log(known=noted).verified, "who kept the old file still sees it"

    def test_half_a_note_is_taken_back(self, anchor, monkeypatch):
        def full(_descriptor):
            raise OSError("No space left on device")

        whole = anchor.read_text()
        write()
        seal_events()
        monkeypatch.setattr("os.fsync", full)
        tasks.sign()
        assert anchor.read_text() == whole and "No space left" in trouble()
        assert verify_log().verified

    def test_a_row_of_an_anchor_that_was_changed_is_named(self, anchor):
        tamper(("UPDATE audit_anchor SET told_note = 'x'",))
        assert "is damaged" in verify_log().fault
        assert "is damaged" in trouble()


class TestChangedBesideTheSignature:
    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ("UPDATE audit_checkpoint SET signed_at = signed_at - interval '1 hour' WHERE number = 2", "the time of"),
            ("UPDATE audit_checkpoint SET root_hash = repeat('0', 64) WHERE number = 2", "the root of"),
            ("UPDATE audit_checkpoint SET tree_size = 5 WHERE number = 2", "the tree size of"),
            ("UPDATE audit_checkpoint SET key_id = '00000000' WHERE number = 2", "the key of"),
            ("DELETE FROM audit_checkpoint WHERE number = 1", "checkpoint 1 is missing"),
            ("UPDATE audit_logkey SET valid_from = valid_from - interval '1 year'", "the beginning of the key"),
            ("UPDATE audit_logkey SET key_id = '00000000'", "the key 00000000 was introduced by no event"),
            ("DELETE FROM audit_logkey", "no key of this log"),
            ("UPDATE audit_batch SET sealed_at = sealed_at - interval '1 hour' WHERE number = 2", "batch 2 says"),
            (
                "UPDATE audit_batch SET sealed_at = sealed_at + interval '1 hour' WHERE number = 1",
                "the checkpoint over",
            ),
        ],
    )
    def test_is_named(self, log, change, named):
        assert verify_log().verified
        tamper((change,))
        assert named in verify_log().fault

    def test_a_key_that_no_event_tells_of(self, log):
        key = notes.public_key("steward.localhost/audit", Ed25519PrivateKey.generate())
        LogKey.objects.create(key_id=key.id, key=str(key), valid_from=clock.now() - timedelta(days=9))
        assert f"the key {key.id} was introduced by no event" in verify_log().fault

    def test_a_key_that_is_not_listed_any_more(self, log):
        first = log.key_id
        rotate_key(actor=Actor.system("tests"))
        seal_events()
        sign_checkpoint()
        assert verify_log().verified
        (_newer, older) = public_keys()
        tamper(("DELETE FROM audit_logkey WHERE key_id = %s", first))
        assert f"the key {first} of event" in verify_log(keys=[older, _newer]).fault

    def test_a_changed_root_does_not_stop_the_signing(self, log):
        """The signed text counts, not the column beside it."""
        tamper(("UPDATE audit_checkpoint SET root_hash = repeat('0', 64)",))
        write()
        seal_events()
        assert sign_checkpoint().tree_size == 8


class TestClocks:
    def test_a_clock_that_was_ahead_stops_the_signing_until_it_is_caught_up(self, settings, tmp_path, client):
        settings.AUDIT_SIGNING_KEY_FILE = str(tmp_path / "key.pem")
        with days_ahead(1):
            write(3)
            seal_events()
            sign_checkpoint()  # introduces the key
        write(2)
        assert seal_events() >= 2, "events are sealed all the same"
        with pytest.raises(WrongClock, match="nothing is signed until"):
            sign_checkpoint()
        assert "set the clock" in trouble() and client.get("/readyz").json()["audit_log"] == "see manage.py doctor"
        tasks.sign()
        assert Checkpoint.objects.count() == 1 and verify_log().verified
        assert b"".join(export_log()), "what cannot be signed is exported as it is"
        with days_ahead(2):
            seal_events()
            assert sign_checkpoint().tree_size == Seal.objects.count() and trouble() == ""
        assert verify_log().verified and verify_log().fully_vouched

    def test_a_small_step_back_stops_nothing(self, log):
        with clock.at(clock.now() - timedelta(seconds=40)):
            write()
            seal_events()
            assert trouble() == ""
            later = sign_checkpoint()
            rotate_key(actor=Actor.system("tests"))
        assert later.signed_at >= log.signed_at and Batch.objects.get(number=3).sealed_at >= log.signed_at
        older, newer = LogKey.objects.order_by("valid_from")
        assert newer.valid_from > older.valid_from
        seal_events()
        assert sign_checkpoint() and verify_log().fully_vouched

    def test_an_event_from_the_future_waits_for_its_time(self, log):
        """Sealed now, it would move the time of the log ahead of the clock, and the signing would stop."""
        with days_ahead(1):
            write()
        write()
        seal_events()
        assert Event.objects.filter(seal__isnull=True).count() == 1 and "from the future" in trouble()
        assert sign_checkpoint().tree_size == 8
        with days_ahead(2):
            assert seal_events() == 1 and sign_checkpoint() and verify_log().verified

    def test_anchors_follow_the_order_of_signing(self, anchor):
        """Ids follow the clock: a checkpoint of before it was set back has a greater one than those that come after."""
        tamper(("UPDATE audit_checkpoint SET id = 'ffffffff-ffff-7fff-bfff-ffffffffffff' WHERE number = 2",))
        write()
        seal_events()
        assert sign_checkpoint().number == 3
        assert tell_anchors() == 1 and Anchor.objects.get().told.tree_size == 8
        assert [each.tree_size for each in Checkpoint.objects.all()] == [8, 7, 4]

    def test_an_anchor_that_is_to_be_told_in_a_year_is_told_now(self, anchor):
        Anchor.objects.update(next_at=clock.now() + timedelta(days=365))
        write()
        seal_events()
        sign_checkpoint()
        assert tell_anchors() == 1

    def test_an_anchor_that_is_not_told_is_trouble(self, anchor):
        write()
        seal_events()
        sign_checkpoint()
        assert trouble() == ""
        with clock.at(clock.now() + timedelta(minutes=20)):
            assert "anchor (file) was not told the newest 1 checkpoints" in trouble()
            tell_anchors()
            assert trouble() == ""

    def test_a_log_that_is_not_signed_is_trouble(self, log):
        write()
        seal_events()
        with clock.at(clock.now() + timedelta(minutes=20)):
            assert "Nothing was signed for ten minutes" in trouble()


def test_an_export_ends_where_the_log_ended_when_it_began(log):
    """Several statements read it while others seal: what comes between two of them is not half in the file."""
    busy = False

    def seal_more(execute, sql, *rest):
        nonlocal busy
        if sql.lstrip().startswith(("SELECT", "DECLARE")) and not busy:
            busy = True
            write()
            seal_events()
            sign_checkpoint()
            busy = False
        return execute(sql, *rest)

    with connection.execute_wrapper(seal_more):
        data = list(export_log())
    report = verify_file(BytesIO(b"".join(data)), keys=public_keys())
    assert (report.fault, report.fully_vouched) == ("", True) and report.tree_size > 7


@pytest.mark.parametrize("gone", ["batch", "checkpoint"])
def test_an_export_hides_nothing_that_is_missing(log, gone):
    """Bounded, but not by what was taken away: seals without their batch, a signature over what is not there."""
    tamper(("DELETE FROM audit_batch WHERE number = 2",))
    if gone == "checkpoint":
        tamper(("DELETE FROM audit_seal WHERE position > 4",))
    else:
        tamper(("DELETE FROM audit_checkpoint WHERE number = 2",))
    assert verify_file(BytesIO(b"".join(export_log())), keys=public_keys()).fault
    assert any(each["type"] == "event" for each in log_records())
