"""Verifies an audit trail: an export with nothing but a public key, or the database (`manage.py verify_audit`).

    python -m registry.audit.verifier EXPORT --key KEYS [--checkpoint NOTED]

Needs no database and no settings; of other people's code only `cryptography` and `rfc8785`. It stops at the first bad
record, names it and says what is wrong with it. docs/audit-chain.md describes the records it reads.

Exit codes: 0 everything is what was sealed and signed; 1 a record is bad; 2 the question could not be read;
3 nothing contradicts anything, but part of it is vouched for by no signature of the given keys.
"""

import argparse
import hashlib
import json
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

import rfc8785

from registry.audit.merkle import TILE_LEVELS, Frontier, includes, leaf_hash
from registry.audit.notes import (
    BadNote,
    Checkpoint,
    Note,
    PublicKey,
    in_force,
    may_be_replaced,
    read_keys,
    split_notes,
)
from registry.core.canonical import canonical_json
from registry.core.inert import visible

FORMAT = "steward-audit/1"
Record = Mapping[str, Any]
MAX_SAFE_INTEGER = 2**53 - 1
SKEW = timedelta(minutes=5)
"""So much the clocks of the machines that write events, seal and sign may differ."""
LINE_LIMIT = 1 << 24
"""Bytes in the longest line that is read; no event comes near it."""


class BadRecord(Exception):
    """Names the first record that is not what was sealed."""

    def __init__(self, message: str, *, missing: int | None = None) -> None:
        super().__init__(message)
        self.missing = missing  # a position that something else stands at; it may still come


@dataclass
class Report:
    """`fault` is empty when nothing is wrong. `vouched` is the number of entries that verified signatures cover."""

    events: int = 0
    batches: int = 0
    checkpoints: int = 0
    tree_size: int = 0
    root: str = ""
    vouched: int = 0
    file_vouched: bool = True
    made_at: str = ""  # when a file says it was written; empty where no signature of a given key says so
    fault: str = ""
    remarks: list[str] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        return not self.fault

    @property
    def fully_vouched(self) -> bool:
        return self.verified and self.vouched >= self.tree_size and self.file_vouched


def hash_of(content: Any) -> bytes:
    """The leaf hash of an event's content. Raises `BadRecord` for what RFC 8785 cannot hold."""
    try:
        return leaf_hash(canonical_json(content))
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeError):
        raise BadRecord("what it says cannot be written as canonical JSON") from None


class Verifier:
    """Takes records in order and recomputes the tree from them; `accept` raises `BadRecord` at the first bad one."""

    def __init__(
        self,
        *,
        keys: Iterable[PublicKey] = (),
        known: Iterable[Checkpoint] = (),
        kept: dict[tuple[int, int], bytes] | None = None,
        all_keys: bool = False,
    ) -> None:
        """`known` checkpoints were noted elsewhere; `kept` are the subtree hashes a database holds, checked as well.

        With `all_keys` there are no others than `keys`: a signature of another one is a fault, not a gap.
        """
        self._all_keys = all_keys
        self.report = Report()
        self._keys = {key.id: key for key in in_force(keys)}
        self._known: dict[int, list[Checkpoint]] = {}
        for checkpoint in known:
            self._known.setdefault(checkpoint.tree_size, []).append(checkpoint)
        self._kept = kept
        self._tree = Frontier()
        self._batch = 0
        self._ends_open = False
        self._start = 0
        self._origin = ""
        self._proves: Checkpoint | None = None
        self._last_position = 0
        self._extract = False
        self._ends_with: PublicKey | None = None  # who signed the last checkpoint
        self._latest: tuple[datetime, str] | None = None  # what a signature over all so far cannot be older than

    # --- Records -----------------------------------------------------------------------------------------

    def accept(self, record: Record) -> None:
        kind = _text(record, "type")
        if kind == "event":
            (self._extracted if self._extract else self._event)(record)
        elif kind == "batch":
            self._end_batch(record)
        elif kind == "checkpoint":
            self._checkpoint(_text(record, "note"))
        elif kind == "export":
            self._begin(record)
        elif kind != "key":  # keys in a file vouch for nothing
            raise BadRecord(f"there are no records of the type {kind!r}")

    def _begin(self, record: Record) -> None:
        if record.get("format") != FORMAT:
            raise BadRecord(f"the format is {record.get('format')!r}; this verifier reads {FORMAT}")
        self._origin = _text(record, "origin")
        kind = record.get("kind")
        if kind not in ("log", "period", "extract"):
            raise BadRecord(f"there is no export of the kind {kind!r}")
        self._extract, self._ends_open = kind == "extract", kind == "period"
        try:
            self._tree = Frontier(_number(record, "after"), [_unhex(each) for each in record["frontier"]])
        except (KeyError, TypeError, ValueError):
            raise BadRecord("the tree before the first record cannot be read") from None
        self._batch = _number(record, "after_batch")
        self._start = self.report.tree_size = self._tree.size
        self._compare_known()

    def _event(self, record: Record) -> None:
        expected, position = self._tree.size + 1, _number(record, "position")
        if position > expected:
            raise BadRecord(f"the record at position {expected} is missing", missing=expected)
        content, leaf = record.get("event"), _hash(record, "leaf_hash")
        if content is None:
            raise BadRecord(f"event {record.get('id')} at position {position} is missing")
        name = f"event {_id(content)} at position {position}"
        if position < expected:
            raise BadRecord(f"{name} was inserted or repeated: position {expected} comes next")
        if _number(record, "batch") != self._batch + 1:
            raise BadRecord(
                f"batch {self._batch + 1} is missing"
                if record["batch"] > self._batch
                else f"{name} was moved to another batch"
            )
        if hash_of(content) != leaf or record.get("id") != _id(content):
            raise BadRecord(f"{name} was changed")
        for level, index, value in self._tree.append(leaf):
            if self._kept is not None and level % TILE_LEVELS == 0 and self._kept.pop((level, index), None) != value:
                first = (index << level) + 1
                raise BadRecord(f"the kept hash over the positions {first} to {first - 1 + (1 << level)} was changed")
        self._happened(content, name)
        self.report.events += 1
        self._compare_known()

    def _end_batch(self, record: Record) -> None:
        number, size = _number(record, "number"), _number(record, "tree_size")
        if number != self._batch + 1:
            raise BadRecord(
                f"batch {self._batch + 1} is missing" if number > self._batch else f"batch {number} is there twice"
            )
        here, before = self._tree.size, self.report.tree_size
        if here < size:
            raise BadRecord(f"the record at position {here + 1} is missing")
        if here > size:
            raise BadRecord(
                f"batch {number} holds {here - before} events, {size - before} were sealed: "
                f"one of the positions {before + 1} to {here} was inserted"
            )
        if self._tree.root != _hash(record, "root_hash"):
            raise BadRecord(
                f"batch {number} was changed: the positions {before + 1} to {here} do not give its root "
                "(an event was replaced together with its hash, or events were reordered)"
            )
        sealed_at = _time(record, "sealed_at")
        self._not_before(sealed_at, f"batch {number} says that it was sealed")
        self._remember(sealed_at, f"the sealing of batch {number}")
        self._batch = number
        self.report.batches += 1
        self.report.tree_size, self.report.root = here, self._tree.root.hex()

    def _checkpoint(self, text: str) -> None:
        note, checkpoint = self._read(text)
        size = checkpoint.tree_size
        if self._extract:
            self._proves = checkpoint
            self.report.tree_size, self.report.root = size, checkpoint.root.hex()
        elif size > self._tree.size:
            raise BadRecord(
                f"a checkpoint was signed over {size} entries, the log ends at position {self._tree.size}: "
                f"the record at position {self._tree.size + 1} is missing"
            )
        elif size < self._tree.size:
            raise BadRecord(f"the checkpoint over {size} entries does not stand where it was signed")
        elif checkpoint.root != self._tree.root:
            raise _rewritten(checkpoint, "signed")
        self._not_before(checkpoint.at, f"the checkpoint over {size} entries says that it was signed")
        self._remember(checkpoint.at, f"the checkpoint over {size} entries")
        self.report.checkpoints += 1
        self._ends_with = self._keys.get(note.key_id)
        if self._signed(note, checkpoint.at, f"the checkpoint over {size} entries"):
            self.report.vouched = max(self.report.vouched, size)

    def _signed(self, note: Note, at: datetime, name: str) -> bool:
        """Whether a given key vouches for `note` at the time that it says. `name` is what it is the signature of."""
        try:
            key = note.signer(self._keys)
        except BadNote as error:
            raise BadRecord(f"{name}: {error}") from None
        if key is None:
            if self._all_keys:
                raise BadRecord(f"{name} is signed with {note.key_id}, no key of this log")
            if self._keys:
                self._remark(f"signatures of the key {note.key_id} were not verified: it was not given")
            return False
        if not key.valid_at(at):
            raise BadRecord(f"{name} is from outside the validity of the key {key.id}{_ended(key, at)}")
        if may_be_replaced(key, self._keys.values()):
            self._remark(f"whether the key {key.id} had been replaced cannot be told: the given keys have no dates")
            return False
        return True

    # --- Times ---------------------------------------------------------------------------------------------
    # A replaced key must not vouch for what came after it, so nothing may say it is older than what it covers.

    def _happened(self, content: Any, name: str) -> None:
        self._remember(_time(content, "at"), name)

    def _remember(self, at: datetime, what: str) -> None:
        if self._latest is None or at > self._latest[0]:
            self._latest = at, what

    def _not_before(self, at: datetime, what: str) -> None:
        if self._latest is not None and at < self._latest[0] - SKEW:
            raise BadRecord(f"{what} at {at.isoformat()}, before {self._latest[1]} ({self._latest[0].isoformat()})")

    def _extracted(self, record: Record) -> None:
        """An event with a proof of its own, of a file that holds only some."""
        if self._proves is None:
            raise BadRecord("the checkpoint that the proofs lead to is missing")
        position, leaf = _number(record, "position"), _hash(record, "leaf_hash")
        name = f"event {_id(record.get('event'))} at position {position}"
        if position <= self._last_position:
            raise BadRecord(f"{name} was inserted, repeated or moved")
        if hash_of(record.get("event")) != leaf or record.get("id") != _id(record.get("event")):
            raise BadRecord(f"{name} was changed")
        try:
            path = [_unhex(each) for each in record["path"]]
        except (KeyError, TypeError, ValueError):
            raise BadRecord(f"{name} has no proof that can be read") from None
        if not includes(self._proves.root, self._proves.tree_size, leaf, position - 1, path):
            raise BadRecord(f"{name} is not what was sealed there: its proof does not lead to the checkpoint")
        happened = _time(record["event"], "at")
        if happened > self._proves.at + SKEW:
            raise BadRecord(f"{name} is from {happened.isoformat()}, after the checkpoint that is to prove it")
        self._last_position = position
        self.report.events += 1

    # --- What others know ----------------------------------------------------------------------------------

    def _compare_known(self) -> None:
        for checkpoint in self._known.pop(self._tree.size, ()):
            if checkpoint.root != self._tree.root:
                raise _rewritten(checkpoint, "noted")

    def _read(self, text: str) -> tuple[Note, Checkpoint]:
        try:
            note = Note.parse(text)
            checkpoint = Checkpoint.parse(note.text)
        except BadNote as error:
            raise BadRecord(f"the checkpoint after position {self._tree.size} is damaged: {error}") from None
        if self._origin and checkpoint.origin != self._origin:
            raise BadRecord(f"the checkpoint over {checkpoint.tree_size} entries is of the log {checkpoint.origin}")
        return note, checkpoint

    def finish(self) -> None:
        """After the last record. Raises `BadRecord` when something is missing at the end."""
        if self._extract:
            if self._known:
                self._remark("an extract cannot be held against checkpoints noted elsewhere")
            return
        if self._tree.size > self.report.tree_size:
            raise BadRecord(f"batch {self._batch + 1} is missing: the position {self._tree.size} is in no batch")
        beyond = sorted(size for size in self._known if size > self._tree.size)
        if beyond and not self._ends_open:
            raise BadRecord(
                f"a checkpoint noted elsewhere covers {beyond[-1]} entries, the log ends at position "
                f"{self._tree.size}: the record at position {self._tree.size + 1} is missing"
            )
        if self._known:
            self._remark(f"{len(self._known)} noted checkpoints lie outside this period")
        if self._kept is not None and self._ends_with is not None and self._ends_with.valid_until is not None:
            # A database is of now. What is exported may be old: that is for `sealed` to say.
            raise BadRecord(f"the log ends with a signature of the key {self._ends_with.id}, which was replaced")
        if self._kept:
            raise BadRecord("a kept hash stands for positions that are not there")
        self.report.root = self._tree.root.hex()

    def sealed(self, origin: str, sha256: str, note: str) -> None:
        """The end of an export: a note over all bytes before it, with the time at which it was written."""
        self.report.file_vouched = False
        if not note:
            self._remark("the end of the export is not signed")
            return
        try:
            found = Note.parse(note)
        except BadNote as error:
            raise BadRecord(f"the end of the export is damaged: {error}") from None
        said = found.text.removeprefix(export_note_text(origin, sha256, "").removesuffix("\n")).removesuffix("\n")
        if found.text != export_note_text(origin, sha256, said):
            raise BadRecord("something beside the events was changed: the file is not the one that was signed")
        at = _time({"at": said}, "at")
        self._not_before(at, "the end of the export says that it was written")
        if not self._signed(found, at, "the end of the export"):
            return
        self.report.file_vouched, self.report.made_at = True, said
        key = self._keys[found.key_id]
        if key.valid_until is not None:
            self._remark(
                f"the export says that it was written at {said}, before the key {key.id} was replaced "
                f"({key.valid_until.isoformat()}): whoever has that key could have written it since"
            )

    def _remark(self, text: str) -> None:
        if text not in self.report.remarks:
            self.report.remarks.append(text)


def export_note_text(origin: str, sha256: str, at: str) -> str:
    """What is signed at the end of an export. No checkpoint looks like it: its second line is a number."""
    return f"{origin}\nexport\n{sha256}\ntime {at}\n"


def verify(records: Iterable[Record], verifier: Verifier, where: Callable[[], str] = str) -> Report:
    """Feed all records; the report says what was found, never raises `BadRecord`. `where` is put before a fault."""
    iterator = iter(records)
    try:
        for record in iterator:
            verifier.accept(record)
    except BadRecord as bad:
        place, fault = where(), str(bad)
        if bad.missing is not None and _comes_later(bad.missing, iterator):
            fault = f"the record at position {bad.missing} was moved: it stands further down"
        verifier.report.fault = f"{place}{fault}"
        return verifier.report
    try:
        verifier.finish()
    except BadRecord as bad:
        verifier.report.fault = str(bad)
    return verifier.report


def _comes_later(position: int, records: Iterator[Record]) -> bool:
    try:
        return any(record.get("type") == "event" and record.get("position") == position for record in records)
    except BadRecord:
        return False


# --- Fields ------------------------------------------------------------------------------------------------


def _number(record: Record, name: str) -> int:
    value = record.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadRecord(f"a record of the type {record.get('type')!r} has no number {name!r}")
    return value


def _time(record: Any, name: str) -> datetime:
    try:
        value = datetime.fromisoformat(record[name])
    except (KeyError, TypeError, ValueError):
        value = None
    if value is None or value.tzinfo is None:
        raise BadRecord(f"a record has no time {name!r}")
    return value


def _text(record: Record, name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise BadRecord(f"a record has no text {name!r}")
    return value


def _hash(record: Record, name: str) -> bytes:
    value = _unhex(_text(record, name))
    if len(value) != 32:
        raise BadRecord(f"a record of the type {record.get('type')!r} has no hash {name!r}")
    return value


def _unhex(text: str) -> bytes:
    """Hexadecimal digits as they are written, in one spelling; empty for anything else."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        return b""
    return value if value.hex() == text else b""


def _id(content: Any) -> str:
    return str(content.get("id")) if isinstance(content, dict) else "without content"


def _ended(key: PublicKey, at: datetime) -> str:
    if key.valid_until is None or at <= key.valid_until:
        return ""
    return f": it was replaced at {key.valid_until.isoformat()}, and this says that it was signed at {at.isoformat()}"


def _rewritten(checkpoint: Checkpoint, how: str) -> BadRecord:
    root = b64encode(checkpoint.root).decode()
    return BadRecord(
        f"the first {checkpoint.tree_size} entries are not those over which the root {root} was {how}: "
        "history was rewritten"
    )


# --- Files -------------------------------------------------------------------------------------------------


def _strict_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _integer(digits: str) -> int | float:
    """Canonical JSON writes large floats without a point."""
    return number if abs(number := int(digits)) <= MAX_SAFE_INTEGER else float(digits)


def parse_line(line: bytes) -> dict[str, Any]:
    """One line of an export. Raises `ValueError` for anything but an object in canonical JSON."""
    found = json.loads(line, object_pairs_hook=_strict_object, parse_int=_integer)
    if not isinstance(found, dict) or canonical_json(found) != line:
        raise ValueError("not canonical")
    return found


def check_of(record: Record) -> str:
    """What tells a damaged line from a whole one. It proves nothing: the note at the end does."""
    return hashlib.sha256(canonical_json(record)).hexdigest()[:16]


def written(record: Record) -> bytes:
    """A line of an export. An event needs no check: its own hash and place say whether it is whole."""
    if record["type"] != "event":
        record = {**record, "check": check_of(record)}
    return canonical_json(record) + b"\n"


def read_line(line: bytes) -> dict[str, Any]:
    """The record of a line of an export. Raises `ValueError` for one that is not as it was written."""
    if not line.endswith(b"\n"):
        raise ValueError("cut off")
    record = parse_line(line[:-1])
    if record.get("type") != "event":
        check = record.pop("check", None)
        if check != check_of(record):
            raise ValueError("not what was written")
    return record


class _File:
    """The records of an export, up to its last line, which is kept in `end`."""

    def __init__(self, lines: IO[bytes]) -> None:
        self._lines = lines
        self._sha256 = hashlib.sha256()
        self._exhausted = False
        self.number = 0
        self.end: dict[str, Any] | None = None
        self.sha256 = ""
        self.origin = ""

    def where(self) -> str:
        return f"line {self.number}: " if self.number and not self._exhausted else ""

    def __iter__(self) -> Iterator[Record]:
        at = ""
        while line := self._lines.readline(LINE_LIMIT + 1):
            self.number += 1
            if self.end is not None:
                raise BadRecord("something stands after the end of the export")
            if len(line) > LINE_LIMIT:
                raise BadRecord(f"the record{at} is longer than any that was ever written")
            try:
                record = read_line(line)
            except (ValueError, RecursionError):
                raise BadRecord(f"the record{at} is damaged: it is not as it was written") from None
            if self.number == 1 and record.get("type") != "export":
                raise BadRecord("this is no export of an audit log")
            if self.number > 1 and record.get("type") == "export":
                raise BadRecord("another export begins")
            if record.get("type") == "end":
                self.end, self.sha256 = record, self._sha256.hexdigest()
                continue
            if record.get("type") == "event":
                at = f" after position {record.get('position')}"
            self.origin = self.origin or str(record.get("origin", ""))
            self._sha256.update(line)
            yield record
        self._exhausted = True
        if self.end is None:
            raise BadRecord(f"the export ends early: the records{at} are missing")


def verify_file(lines: IO[bytes], *, keys: Iterable[PublicKey] = (), known: Iterable[Checkpoint] = ()) -> Report:
    """Verify an export, opened in binary. Of a file of any length it holds one line."""
    verifier = Verifier(keys=keys, known=known)
    file = _File(lines)
    report = verify(file, verifier, file.where)
    if report.verified and file.end is not None:
        try:
            if file.end.keys() != {"type", "sha256", "note"}:
                raise BadRecord("the last line was changed")
            if file.end["sha256"] != file.sha256:
                raise BadRecord("something beside the events was changed: the file is not what was written")
            verifier.sealed(file.origin, file.sha256, _text(file.end, "note"))
        except BadRecord as bad:
            report.fault = f"line {file.number}: {bad}"
    return report


def read_checkpoints(text: str, keys: Iterable[PublicKey] = ()) -> list[Checkpoint]:
    """Checkpoints noted elsewhere, such as an anchor file. Raises `BadNote` for one that a given key did not sign."""
    by_id = {key.id: key for key in in_force(keys)}
    found = []
    for each in split_notes(text):
        note = Note.parse(each)
        checkpoint = Checkpoint.parse(note.text)
        try:
            key = note.signer(by_id)
        except BadNote as error:
            raise BadNote(f"a noted checkpoint is not what it says: {error}") from None
        if key is not None and not key.valid_at(checkpoint.at):
            raise BadNote(f"a noted checkpoint is from outside the validity of the key {key.id}")
        found.append(checkpoint)
    return found


# --- Command -----------------------------------------------------------------------------------------------


def outcome(report: Report) -> tuple[str, int]:
    """What to say, and the exit code."""
    if report.fault:
        return f"BAD: {visible(report.fault)}", 1
    said = [
        f"{'verified' if report.fully_vouched else 'consistent'}: {report.events} events, {report.batches} batches, "
        f"{report.checkpoints} checkpoints",
        f"tree size {report.tree_size}, root {report.root}" + (f", written {report.made_at}" if report.made_at else ""),
        *map(visible, report.remarks),
    ]
    if not report.fully_vouched:
        said.append(f"signatures of the given keys vouch for {report.vouched} of {report.tree_size} entries")
    return "\n".join(said), 0 if report.fully_vouched else 3


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m registry.audit.verifier", description="Verify an exported audit trail offline."
    )
    parser.add_argument("export", help="the file to verify, or - for standard input")
    parser.add_argument("--key", action="append", default=[], metavar="FILE", help="public keys; may be repeated")
    parser.add_argument(
        "--checkpoint", action="append", default=[], metavar="FILE", help="checkpoints noted earlier; may be repeated"
    )
    parser.add_argument("--format", choices=["text", "json"], default="text")
    options = parser.parse_args(arguments)
    try:
        keys = [key for path in options.key for key in read_keys(Path(path).read_text())]
        known = [each for path in options.checkpoint for each in read_checkpoints(Path(path).read_text(), keys)]
        if options.export == "-":
            report = verify_file(sys.stdin.buffer, keys=keys, known=known)
        else:
            with open(options.export, "rb") as file:
                report = verify_file(file, keys=keys, known=known)
    except (OSError, UnicodeError, BadNote) as error:
        sys.stderr.write(f"cannot be verified: {error}\n")
        return 2
    said, code = outcome(report)
    if options.format == "json":
        said = json.dumps({**asdict(report), "verified": report.verified, "fully_vouched": report.fully_vouched})
    (sys.stderr if code == 1 and options.format == "text" else sys.stdout).write(f"{said}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
