"""What is exported verifies with nothing but a public key, and whatever is done to it is named."""

import io
import json
import os
import random
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.audit.log import event_hash
from registry.audit.models import Batch, Event, LogKey, Seal
from registry.audit.notes import BadNote, PublicKey, read_keys
from registry.audit.queries import public_keys, verify_log
from registry.audit.services import export_extract, export_log, record, rotate_key, seal_events, sign_checkpoint
from registry.audit.verifier import main, outcome, read_checkpoints, read_line, verify_file, written
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import canonical_json
from registry.core.errors import Conflict
from tests.audit.test_chain import SYSTEM, Thing, delete, rewrite, smuggle, tamper, write
from tests.factories import person

pytestmark = pytest.mark.django_db


@pytest.fixture
def log(settings, tmp_path):
    """Four batches of three events, the second and the last one signed; a key of its own."""
    settings.AUDIT_SIGNING_KEY_FILE = str(tmp_path / "key.pem")
    events = []
    for number in range(4):
        events += write(3, ratio=0.5, text="Zoë → 名", large=1e21, tiny=5e-324, whole=1e16)
        seal_events()
        if number in (1, 3):
            sign_checkpoint()
            seal_events()  # the key that was introduced is an event too
    sign_checkpoint()
    return events


def exported(*period):
    return b"".join(export_log(*period))


def check(data, **known):
    known.setdefault("keys", public_keys())
    return verify_file(io.BytesIO(data), **known)


def joined(lines):
    return b"".join(lines)


class TestExport:
    def test_verifies_and_is_vouched_for(self, log):
        report = check(exported())
        assert (report.fault, report.fully_vouched, report.events, report.remarks) == ("", True, 13, [])
        assert report.root == Batch.objects.order_by("-number").first().root_hash

    def test_of_a_period_verifies_alone_and_proves_its_beginning(self, log):
        since, until = log[4].at, log[5].at
        data = exported(since, until)
        lines = [json.loads(line) for line in data.splitlines()]
        positions = [line["position"] for line in lines if line["type"] == "event"]
        assert positions == [4, 5, 6], "the batch that holds it, up to its signature"
        report = check(data)
        assert report.fully_vouched and report.events == len(positions)

    def test_of_a_period_without_events_says_so(self, log):
        with pytest.raises(Conflict, match="Nothing was sealed"):
            exported(log[-1].at.replace(year=2090))

    def test_an_extract_proves_each_of_its_events(self, log):
        wanted = Event.objects.filter(pk__in=[log[2].pk, log[9].pk])
        data = b"".join(export_extract(wanted))
        report = check(data)
        assert report.fully_vouched and report.events == 2
        forged = data.replace(b"thing.done", b"thing.gone", 1)
        assert check(forged).fault == f"line 3: event {log[2].pk} at position 3 was changed"

    def test_without_a_key_nothing_is_vouched_for(self, log):
        report = check(exported(), keys=[])
        assert report.verified and not report.fully_vouched and outcome(report)[1] == 3
        stranger = PublicKey("steward.localhost/audit", b"\x07" * 32)
        report = check(exported(), keys=[stranger])
        assert report.verified and outcome(report)[1] == 3 and "was not given" in report.remarks[0]

    def test_an_installation_without_a_key_exports_what_can_be_compared(self, log, settings):
        settings.AUDIT_SIGNING_KEY_FILE = ""
        report = check(exported())
        assert report.verified and not report.fully_vouched and "not signed" in report.remarks[0]

    def test_an_old_signature_still_verifies_after_the_key_was_replaced(self, log):
        old = public_keys()
        rotate_key(actor=Actor.system("tests"))
        seal_events()
        data = exported()
        assert check(data).fully_vouched
        report = check(data, keys=old)
        assert report.verified and not report.fully_vouched, "the new key was not given"
        assert 0 < report.vouched < report.tree_size

    def test_a_signature_from_outside_the_keys_validity_is_refused(self, log):
        (key,) = public_keys()
        late = PublicKey(key.name, key.raw, valid_until=log[0].at)
        assert "outside the validity" in check(exported(), keys=[late]).fault


class TestTamperedExport:
    """Every line of an event that is touched in any way is named by its number; everything else is found."""

    def test_whatever_is_done_to_it_is_named(self, log):
        whole = exported().splitlines(keepends=True)
        events = [number for number, line in enumerate(whole) if b'"type":"event"' in line]
        keys = public_keys()

        @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.sampled_from(["flip", "delete", "insert", "swap", "cut"]), st.randoms(use_true_random=False))
        def attempt(how, chance: random.Random):
            lines, at = list(whole), chance.choice(events)
            named = f"line {at + 1}: "
            if how == "flip":
                place = chance.randrange(len(lines[at]))
                line = bytearray(lines[at])
                line[place] ^= chance.randrange(1, 256)
                lines[at] = bytes(line)
            elif how == "delete":
                position = json.loads(lines.pop(at))["position"]
                named = f"position {position} is missing"
            elif how == "insert":
                lines.insert(at, lines[chance.choice(events)])
                if lines[at] == lines[at + 1]:
                    named = f"line {at + 2}: "  # the copy that comes second is the one too many
            elif how == "swap":
                other = chance.choice([each for each in events if each != at])
                lines[at], lines[other] = lines[other], lines[at]
                named = f"line {min(at, other) + 1}: "
            else:
                lines = lines[:at]
                named = "ends early"
            fault = verify_file(io.BytesIO(joined(lines)), keys=keys).fault
            assert named in fault, (how, fault)

        attempt()

    @pytest.mark.parametrize("kind", ["log", "period", "extract"])
    def test_a_flipped_bit_anywhere_is_found_in_its_line(self, log, kind):
        if kind == "extract":
            data = b"".join(export_extract(Event.objects.filter(pk__in=[each.pk for each in log[3:7]])))
        else:
            data = exported(*((log[4].at, log[5].at) if kind == "period" else ()))
        keys = public_keys()
        line_of = [number for number, line in enumerate(data.splitlines(keepends=True), start=1) for _byte in line]

        @settings(max_examples=100, deadline=None)
        @given(st.integers(0, len(data) - 1), st.integers(0, 7), st.booleans())
        def attempt(place, bit, with_keys):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            fault = verify_file(io.BytesIO(bytes(changed)), keys=keys if with_keys else []).fault
            assert fault.startswith(f"line {line_of[place]}: "), fault

        attempt()

    @pytest.mark.parametrize("leaf_too", [False, True])
    def test_a_rewritten_event_is_found_with_and_without_its_hash(self, log, leaf_too):
        lines = exported().splitlines(keepends=True)
        number = next(n for n, line in enumerate(lines) if b'"position":5,' in line)
        forged = json.loads(lines[number])
        forged["event"]["act"] = "thing.undone"
        if leaf_too:
            from registry.audit.verifier import hash_of

            forged["leaf_hash"] = hash_of(forged["event"]).hex()
        lines[number] = canonical_json(forged) + b"\n"
        named = "batch 2 was changed: the positions 4 to 6 " if leaf_too else "at position 5 was changed"
        assert named in check(joined(lines)).fault

    def test_an_end_cut_off_and_closed_again_is_not_vouched_for_and_named_by_a_noted_checkpoint(self, log):
        """Whoever cuts at a signed state has a file without contradictions, but cannot sign its end."""
        import hashlib

        whole = exported().splitlines(keepends=True)
        signed = [number for number, line in enumerate(whole) if b'"type":"checkpoint"' in line]
        kept = whole[: signed[0] + 1]
        end = {"type": "end", "sha256": hashlib.sha256(joined(kept)).hexdigest(), "note": ""}
        data = joined([*kept, written(end)])
        report = check(data)
        assert report.verified and not report.fully_vouched
        noted = read_checkpoints(sign_checkpoint().note, public_keys())
        assert "the record at position 7 is missing" in check(data, known=noted).fault
        stolen = read_line(whole[-1]) | {"sha256": end["sha256"]}
        assert "not the one that was signed" in check(joined([*kept, written(stolen)])).fault

    def test_what_is_no_export_is_said_to_be_none(self):
        assert check(b"").fault.startswith("the export ends early")
        assert check(b'{"type":"event"}\n').fault == "line 1: this is no export of an audit log"
        assert "damaged" in check(b"[" * 100_000 + b"\n").fault
        assert "damaged" in check(b'{"a":1,"a":1}\n').fault


class TestTamperedDatabase:
    def test_whatever_is_done_to_it_is_named(self, log):
        """As the owner of the tables could: triggers off, hashes adapted or not."""
        sealed = list(Seal.objects.order_by("position").select_related("event"))
        extra = write()[0]
        last_of_batch = {seal.batch_id: seal.position for seal in sealed}

        @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.sampled_from(["change", "rewrite", "delete", "insert", "swap", "cut"]), st.integers(0, 11))
        def attempt(how, index):
            with transaction.atomic():
                seal = sealed[index]
                event = Event.objects.get(pk=seal.event_id)
                if how == "change":
                    tamper(("UPDATE audit_event SET data = '{}', act = act || '.' WHERE id = %s", event.pk))
                    named = f"event {event.pk} at position {index + 1} was changed"
                elif how == "rewrite":
                    rewrite(event)
                    named = "history was rewritten"
                elif how == "delete":
                    delete(event)
                    named = f"the record at position {index + 1} is missing"
                elif how == "insert":
                    smuggle(extra, position=index + 1, batch=seal.batch_id)
                    named = f"batch {seal.batch_id} holds"
                elif how == "swap":
                    other = sealed[(index + 5) % 12]
                    tamper(
                        ("UPDATE audit_seal SET position = 0 WHERE event_id = %s", event.pk),
                        ("UPDATE audit_seal SET position = %s WHERE event_id = %s", seal.position, other.event_id),
                        ("UPDATE audit_seal SET position = %s WHERE event_id = %s", other.position, event.pk),
                    )
                    first = min(seal, other, key=lambda each: each.position)
                    named = f"position {first.position}"
                    if seal.batch_id == other.batch_id:
                        named = f"batch {seal.batch_id} was changed"
                else:
                    tamper(
                        ("DELETE FROM audit_batch WHERE number > %s", seal.batch_id),
                        ("DELETE FROM audit_seal WHERE batch_id > %s", seal.batch_id),
                    )
                    named = f"position {last_of_batch[seal.batch_id] + 1} is missing"
                    if seal.batch_id == sealed[-1].batch_id:
                        named = ""
                fault = verify_log().fault
                assert named in fault if named else not fault, (how, fault)
                transaction.set_rollback(True)

        attempt()
        assert verify_log().verified

    def test_one_that_ends_with_a_replaced_key_is_none_of_today(self, log):
        """Whoever owns the tables and holds an old key takes back what the new one signed."""
        rotate_key(actor=SYSTEM)
        assert verify_log().fully_vouched
        tamper(("DELETE FROM audit_checkpoint WHERE key_id = %s", public_keys()[0].id))
        assert "which was replaced" in verify_log(keys=public_keys(), anchored=False).fault

    def test_a_clock_that_was_set_wrong_is_no_forgery(self, log):
        with clock.at(clock.now() + timedelta(days=3)):
            write()
            seal_events()
        write()
        seal_events()
        with clock.at(clock.now() - timedelta(days=3)):
            write()
            seal_events()
        assert verify_log().verified
        times = list(Batch.objects.order_by("number").values_list("sealed_at", flat=True))
        assert times == sorted(times)


class TestKeys:
    def test_are_read_from_lines_and_from_what_the_api_answers(self, log, api):
        lines = "\n".join(["# audit keys", *(row.key for row in LogKey.objects.all()), ""])
        (key,) = read_keys(lines)
        answered = api(person("auditor")).get("/api/v1/audit/keys").content.decode()
        (listed,) = read_keys(answered)
        assert listed.id == key.id and listed.valid_from is not None and listed.valid_until is None

    @pytest.mark.parametrize("text", ["nonsense", "a+b+c", "[1]", '{"results": [{"key": 1}]}', "{"])
    def test_what_is_none_is_refused(self, text):
        with pytest.raises(BadNote):
            read_keys(text)

    def test_a_changed_one_is_refused(self, log):
        key = LogKey.objects.get().key
        with pytest.raises(BadNote, match="was changed"):
            read_keys(key.replace("steward", "stewart"))

    def test_the_private_key_is_for_its_owners_eyes(self, log, settings):
        assert Path(settings.AUDIT_SIGNING_KEY_FILE).stat().st_mode & 0o777 == 0o600

    def test_the_page_gives_them_with_their_dates(self, log, web):
        rotate_key(actor=SYSTEM)
        (new, old) = read_keys(web(person("auditor")).get("/audit/keys.txt").content.decode())
        assert old.valid_until == new.valid_from and new.valid_until is None and old.valid_from is not None


class TestCommand:
    @pytest.fixture
    def files(self, log, tmp_path):
        (tmp_path / "log.jsonl").write_bytes(exported())
        (tmp_path / "keys.txt").write_text(LogKey.objects.get().key)
        (tmp_path / "noted.txt").write_text(sign_checkpoint().note * 2)
        return tmp_path

    def test_runs_from_an_empty_folder_without_django_or_a_database(self, files):
        """A process of its own, in which Django cannot be imported."""
        away = files / "away"
        (away / "django").mkdir(parents=True)
        (away / "django" / "__init__.py").write_text("raise ImportError('no Django here')")
        root = Path(__file__).resolve().parents[2]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{away}{os.pathsep}{root}"}
        command = [sys.executable, "-m", "registry.audit.verifier", "../log.jsonl", "--key", "../keys.txt"]
        ran = subprocess.run(command, cwd=away, env=environment, capture_output=True, text=True, timeout=60)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout.startswith("verified: 13 events")

    def test_exit_codes(self, files, capsys):
        export, key = str(files / "log.jsonl"), ["--key", str(files / "keys.txt")]
        assert main([export, *key, "--checkpoint", str(files / "noted.txt")]) == 0
        assert main([export]) == 3
        assert main([export, "--key", export]) == 2
        assert main([str(files / "absent"), *key]) == 2
        capsys.readouterr()
        whole = (files / "log.jsonl").read_bytes()
        (files / "log.jsonl").write_bytes(whole.replace(b'"n":1', b'"n":7', 1))
        assert main([export, *key]) == 1
        assert "at position 2 was changed" in capsys.readouterr().err
        assert main([export, *key, "--format", "json"]) == 1
        assert json.loads(capsys.readouterr().out)["fault"].startswith("line 3: event ")


def test_what_an_event_can_hold_survives_the_way_to_the_file(log):
    """Floats that canonical JSON writes like integers, control characters, names in every order."""

    @settings(max_examples=15, deadline=None)
    @given(
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
            st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.booleans(), st.none()),
            max_size=4,
        )
    )
    def attempt(data):
        with transaction.atomic():
            event = record(actor=SYSTEM, act="thing.done", subject=Thing(), data=data)
            seal_events()
            assert event_hash(Event.objects.get(pk=event.pk)).hex() == Seal.objects.get(event=event).leaf_hash
            extract = b"".join(export_extract(Event.objects.filter(pk=event.pk)))
            assert verify_file(io.BytesIO(extract), keys=public_keys()).fully_vouched
            transaction.set_rollback(True)

    attempt()
