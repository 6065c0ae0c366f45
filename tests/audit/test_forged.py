"""What somebody can do who holds a key that signs no more, and what any flipped bit does. No database: files alone."""

import hashlib
import io
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.audit.merkle import Frontier
from registry.audit.notes import (
    BadNote,
    Checkpoint,
    Note,
    PublicKey,
    decode,
    in_force,
    public_key,
    read_keys,
    sign,
    write_keys,
)
from registry.audit.verifier import (
    FORMAT,
    export_note_text,
    hash_of,
    main,
    outcome,
    read_checkpoints,
    read_line,
    verify_file,
    written,
)

ORIGIN = "log.example.org/audit"
FIRST, SECOND = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
START = datetime(2026, 1, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


KEYS = [
    replace(public_key(ORIGIN, FIRST), valid_from=day(0), valid_until=day(3)),
    replace(public_key(ORIGIN, SECOND), valid_from=day(3)),
]


def stamp(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")


def log(*batches, end) -> bytes:
    """An export of (day of its event, of its seal, of its checkpoint, who signs that); `end` as (day, key)."""
    tree = Frontier()
    records = [{"type": "export", "format": FORMAT, "kind": "log", "origin": ORIGIN, "after": 0, "after_batch": 0,
                "frontier": []}]  # fmt: skip
    for number, (happened, sealed, signed, key) in enumerate(batches, start=1):
        content = {"id": f"e{number}", "at": stamp(day(happened)), "act": "thing.done"}
        leaf = hash_of(content)
        list(tree.append(leaf))
        records += [
            {"type": "event", "position": number, "batch": number, "id": f"e{number}", "leaf_hash": leaf.hex(),
             "event": content},
            {"type": "batch", "number": number, "sealed_at": stamp(day(sealed)), "tree_size": number,
             "root_hash": tree.root.hex()},
        ]  # fmt: skip
        if key is not None:
            note = sign(Checkpoint(ORIGIN, number, tree.root, day(signed)).text, ORIGIN, key)
            records.append({"type": "checkpoint", "note": note})
    data = b"".join(map(written, records))
    sha256 = hashlib.sha256(data).hexdigest()
    at, key = end
    note = sign(export_note_text(ORIGIN, sha256, stamp(day(at))), ORIGIN, key)
    return data + written({"type": "end", "sha256": sha256, "note": note})


HONEST = log((1, 1, 1, FIRST), (2, 2, 2, FIRST), (4, 4, 4, SECOND), end=(6, SECOND))


def check(data, keys=KEYS, **known):
    return verify_file(io.BytesIO(data), keys=keys, **known)


class TestReplacedKey:
    """Whoever holds it must not vouch for anything after its end."""

    def test_an_honest_log_over_two_keys_verifies(self):
        report = check(HONEST)
        assert (report.fault, report.fully_vouched, report.remarks) == ("", True, [])
        assert report.made_at == stamp(day(6)) and report.made_at in outcome(report)[0]

    @pytest.mark.parametrize(
        ("forged", "said"),
        [
            # everything up to day six, all checkpoints dated day two
            (log((1, 1, 2, FIRST), (6, 6, 2, FIRST), end=(6.5, FIRST)), "line 7: the checkpoint over 2 entries says"),
            # the seals dated back as well
            (log((1, 1, 2, FIRST), (6, 2, 2, FIRST), end=(2, FIRST)), "line 6: batch 2 says that it was sealed"),
            # only the end is dated as it is
            (log((1, 1, 2, FIRST), (2, 2, 2, FIRST), end=(6, FIRST)), "line 8: the end of the export is from outside"),
            (log((1, 1, 1, FIRST), (2, 2, 6, FIRST), end=(6, FIRST)), "line 7: the checkpoint over 2 entries is from"),
            # signatures that go back in time
            (log((1, 1, 2.5, FIRST), (2, 2, 2, FIRST), end=(2.7, FIRST)), "line 6: batch 2 says that it was sealed"),
            (log((1, 1, 2.5, FIRST), (2, 2.5, 2, FIRST), end=(2.7, FIRST)), "line 7: the checkpoint over 2 entries"),
            (log((1, 1, 1, FIRST), (2, 2, 2, FIRST), end=(1, FIRST)), "line 8: the end of the export says that it was"),
            # a key before it began
            (log((1, 1, 1, SECOND), end=(4, SECOND)), "line 4: the checkpoint over 1 entries is from outside"),
        ],
    )
    def test_what_it_signs_after_its_end_or_dated_back_is_a_fault(self, forged, said):
        report = check(forged)
        assert report.fault.startswith(said), report.fault
        assert outcome(report)[1] == 1

    def test_the_fault_says_when_it_was_replaced(self):
        forged = log((1, 1, 1, FIRST), end=(6, FIRST))
        assert f"it was replaced at {day(3).isoformat()}" in check(forged).fault

    def test_clocks_may_differ_by_minutes(self):
        minute = 1 / 24 / 60
        assert check(log((1 + 4 * minute, 1, 1, FIRST), end=(1 - minute, FIRST))).verified
        assert check(log((1 + 6 * minute, 1, 1.5, FIRST), end=(2, FIRST))).fault

    def test_what_is_dated_within_its_time_verifies_and_is_told_apart(self):
        """This it can still do, which is why checkpoints are noted elsewhere."""
        forged = log((1, 1, 1, FIRST), (2.5, 2.5, 2.5, FIRST), end=(2.9, FIRST))
        report = check(forged)
        assert report.fully_vouched
        assert "before the key" in report.remarks[0] and "could have written it since" in outcome(report)[0]
        noted = read_checkpoints(read_line(HONEST.splitlines(keepends=True)[6])["note"], KEYS)
        assert "history was rewritten" in check(forged, known=noted).fault

    def test_several_keys_without_dates_vouch_for_nothing(self):
        bare = [PublicKey(key.name, key.raw) for key in KEYS]
        forged = log((1, 1, 2, FIRST), (2, 2, 2, FIRST), end=(6, FIRST))
        for data in (forged, HONEST):
            report = check(data, bare)
            assert report.verified and outcome(report)[1] == 3
            assert "the given keys have no dates" in report.remarks[0]
        assert outcome(check(HONEST, [*bare, *KEYS]))[1] == 0, "the dates of one list hold for the other"
        assert check(forged, [*KEYS, *bare]).fault

    def test_a_key_ends_where_the_next_one_begins(self):
        begun = [replace(key, valid_until=None) for key in KEYS]
        assert check(log((1, 1, 1, FIRST), end=(6, FIRST)), begun).fault
        (old, new) = in_force(begun)
        assert (old.valid_until, new.valid_until) == (day(3), None)

    def test_an_extract_dated_back_is_a_fault(self):
        content = {"id": "e1", "at": stamp(day(6)), "act": "thing.done"}
        leaf = hash_of(content)
        tree = Frontier(1, [leaf])
        head = {"type": "export", "format": FORMAT, "kind": "extract", "origin": ORIGIN, "after": 0, "after_batch": 0,
                "frontier": []}  # fmt: skip
        note = sign(Checkpoint(ORIGIN, 1, tree.root, day(2)).text, ORIGIN, FIRST)
        event = {"type": "event", "position": 1, "id": "e1", "leaf_hash": leaf.hex(), "event": content, "path": []}
        data = b"".join(map(written, [head, {"type": "checkpoint", "note": note}, event]))
        sha256 = hashlib.sha256(data).hexdigest()
        end = sign(export_note_text(ORIGIN, sha256, stamp(day(2))), ORIGIN, FIRST)
        data += written({"type": "end", "sha256": sha256, "note": end})
        assert "after the checkpoint that is to prove it" in check(data).fault

    def test_a_noted_checkpoint_from_outside_its_validity_is_refused(self):
        late = sign(Checkpoint(ORIGIN, 1, b"\1" * 32, day(5)).text, ORIGIN, FIRST)
        with pytest.raises(BadNote, match="outside the validity"):
            read_checkpoints(late, KEYS)


class TestKeysFile:
    def test_carries_dates_and_is_read_by_whoever_knows_nothing_of_them(self, tmp_path):
        text = write_keys(KEYS)
        assert read_keys(text) == KEYS
        plain = [line for line in text.splitlines() if not line.startswith("#")]
        assert plain == [str(key) for key in KEYS]
        (tmp_path / "keys.txt").write_text(text)
        (tmp_path / "log").write_bytes(log((1, 1, 2, FIRST), end=(6, FIRST)))
        assert main([str(tmp_path / "log"), "--key", str(tmp_path / "keys.txt")]) == 1

    @pytest.mark.parametrize("dates", ["from yesterday", "from 2026-01-01", "until 2026-01-01T00:00:00Z"])
    def test_dates_that_are_not_understood_are_refused(self, dates):
        with pytest.raises(BadNote, match="validity"):
            read_keys(f"# valid {dates}\n{KEYS[0]}\n")


class TestAnyBit:
    """Every single bit of a file counts, whether keys are given or not, and the line it is in is named."""

    LINE_OF = [number for number, line in enumerate(HONEST.splitlines(keepends=True), start=1) for _byte in line]

    @settings(max_examples=250, deadline=None)
    @given(st.integers(0, len(HONEST) - 1), st.integers(0, 7), st.booleans())
    def test_flipped_is_found_in_its_line(self, place, bit, with_keys):
        changed = bytearray(HONEST)
        changed[place] ^= 1 << bit
        report = check(bytes(changed), KEYS if with_keys else [])
        assert report.fault.startswith(f"line {self.LINE_OF[place]}: "), report.fault
        assert outcome(report)[1] == 1

    @pytest.mark.parametrize("number", [1, 3, 10, 11])
    def test_with_its_check_adapted_it_is_found_all_the_same(self, number):
        """Somebody who edits a line with care, instead of a disk that fails."""
        lines = HONEST.splitlines(keepends=True)
        record = read_line(lines[number - 1])
        if number == 3:
            record["sealed_at"] = stamp(day(1.001))
        elif number == 1:
            record["origin"] = "log.example.org/other"
        else:  # four bytes that name the key
            note = Note.parse(record["note"])
            head, _gap, encoded = record["note"].rstrip("\n").rpartition(" ")
            other = b64encode(bytes([note.signature[0]]) * 4 + decode(encoded)[4:]).decode()
            record["note"] = f"{head} {other}\n"
        lines[number - 1] = written(record)
        report = check(b"".join(lines))
        assert outcome(report)[1] == 1, report

    @pytest.mark.parametrize("number", [2, 3])
    def test_digits_have_one_spelling(self, number):
        lines = HONEST.splitlines(keepends=True)
        record = read_line(lines[number - 1])
        name = "leaf_hash" if number == 2 else "root_hash"
        record[name] = record[name].upper()
        lines[number - 1] = written(record)
        assert f"has no hash {name!r}" in check(b"".join(lines)).fault

    def test_base64_has_one_spelling(self):
        assert decode("AQ==") == b"\1"
        with pytest.raises(ValueError, match="canonical"):
            decode("AR==")
        with pytest.raises(BadNote):
            PublicKey.parse(str(KEYS[0])[:-2] + "//")

    def test_what_stands_after_a_signature_is_a_signature(self):
        note = sign("text\n", ORIGIN, FIRST)
        assert Note.parse(note + note.splitlines()[-1] + "\n").key_id == KEYS[0].id
        for more in ("x\n", "\n", "x"):
            with pytest.raises(BadNote):
                Note.parse(note + more)

    def test_a_line_without_end_is_not_read_whole(self):
        class Endless(io.RawIOBase):
            read_bytes = 0

            def readable(self):
                return True

            def readinto(self, buffer):
                buffer[:] = b"x" * len(buffer)
                Endless.read_bytes += len(buffer)
                return len(buffer)

        fault = verify_file(io.BufferedReader(Endless())).fault
        assert fault == "line 1: the record is longer than any that was ever written"
        assert Endless.read_bytes < 1 << 25
