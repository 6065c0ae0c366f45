"""Verifies an audit pack with nothing but public keys of the registry that made it.

    python -m registry.reviews.pack_verifier PACK.zip --key KEYS

Needs no database and no settings; of other people's code only `cryptography` and `rfc8785`. It stops at the first bad
file or record and names it. docs/audit-pack.md says what is in a pack and what its verification proves.

Exit codes: 0 everything is what was packed and signed; 1 a file or record is bad; 2 the question could not be read;
3 nothing contradicts anything, but part of it is vouched for by no signature of the given keys.
"""

import argparse
import hashlib
import io
import json
import lzma
import struct
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import IO, Any, cast
from uuid import UUID
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

from registry.audit.notes import BadNote, Note, PublicKey, in_force, may_be_replaced, read_keys
from registry.audit.verifier import SKEW, parse_line, verify_file
from registry.core.canonical import canonical_json, digest
from registry.core.inert import visible
from registry.reviews.pack_format import (
    BLOCKS,
    CAMPAIGNS,
    DECISIONS,
    EXTRACT,
    FORMAT,
    LASTING,
    LINES,
    MANIFEST,
    NOTE,
    POPULATION,
    SIGN_OFFS,
    SIGNED,
    SNAPSHOTS,
    STAKES,
    frozen_stake,
    line_hash,
    pack_note_text,
    read_evidence,
)

Record = dict[str, Any]
DAMAGE = (
    BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, RuntimeError, ValueError, OverflowError
)  # fmt: skip
"""What zipfile raises when flipped bytes make of an archive or member something cut off, packed in an unknown way or
encrypted (the last two are a RuntimeError), or named in no encoding (a ValueError)."""
REQUIRED = (CAMPAIGNS, POPULATION, DECISIONS, SIGN_OFFS, SNAPSHOTS, BLOCKS, EXTRACT)
PIECE = 1 << 16
MANIFEST_LIMIT = 1 << 20
ROW_LIMIT, EVIDENCE_LIMIT = 1 << 22, 1 << 24
"""Bytes in the longest line that is read of rows and of evidence; none that was ever written comes near."""
NAMED = 20
"""So many conflicts are named one by one; all are counted."""


class BadPack(Exception):
    """Names the first file or record that is not what was packed."""


@dataclass
class PackReport:
    """`fault` is empty when nothing is wrong; `signed` and `vouched` say whether the given keys vouch for all of it."""

    files: int = 0
    campaigns: int = 0
    population: int = 0
    items: int = 0
    decisions: int = 0
    sign_offs: int = 0
    evidence: int = 0
    events: int = 0
    conflicts: int = 0
    manifest: str = ""
    signed_at: str = ""
    signed: bool = False
    vouched: bool = False
    fault: str = ""
    remarks: list[str] = field(default_factory=list)


def verify_pack(path: Path | IO[bytes], keys: Iterable[PublicKey] = ()) -> PackReport:
    """Raises nothing for a bad pack: the report names what is bad. `OSError` when there is no such file."""
    if isinstance(path, Path):
        path.stat()
    report = PackReport()
    try:
        with ZipFile(path) as archive:
            _Pack(archive, list(keys), report).verify()
    except BadPack as bad:
        report.fault = str(bad)
    except DAMAGE:
        report.fault = "this is no readable archive"
    return report


class _Pack:
    def __init__(self, archive: ZipFile, keys: list[PublicKey], report: PackReport) -> None:
        self.archive, self.keys, self.report = archive, in_force(keys), report
        self.listed: dict[str, Record] = {}
        self.key: PublicKey | None = None

    def verify(self) -> None:
        manifest = self._manifest()
        self.signed_at = self._signature(manifest)
        self._names()
        for name in sorted(self.listed):
            self._file(name)
        self._population()
        self._decisions()
        self._events()
        self._vouch()

    # --- Files ---------------------------------------------------------------------------------------------

    def _open(self, name: str) -> io.BufferedReader:
        try:
            info = self.archive.getinfo(name)
        except KeyError:
            raise BadPack(f"{name} is missing") from None
        if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise BadPack(f"{name} is packed in a way that no pack ever was")
        return io.BufferedReader(cast(io.RawIOBase, self.archive.open(info)), PIECE)

    def _bytes(self, name: str, limit: int) -> bytes:
        try:
            with self._open(name) as file:
                found = file.read(limit + 1)
        except DAMAGE:
            raise BadPack(f"{name} is damaged: it cannot be unpacked") from None
        if len(found) > limit:
            raise BadPack(f"{name} is larger than any that was ever written")
        return found

    def _manifest(self) -> Record:
        raw = self._bytes(MANIFEST, MANIFEST_LIMIT)
        self.report.manifest = hashlib.sha256(raw).hexdigest()
        try:
            found = parse_line(raw)
            if found["format"] != FORMAT:
                raise BadPack(f"the format is {found['format']!r}; this verifier reads {FORMAT}")
            for each in found["files"]:
                name, sha256, size = each["name"], each["sha256"], each["size"]
                if name in self.listed or not isinstance(name, str) or not _is_hash(sha256) or not _is_count(size):
                    raise ValueError
                self.listed[name] = each
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BadPack(f"{MANIFEST} is damaged: it is not as it was written") from None
        return found

    def _signature(self, manifest: Record) -> datetime:
        """When the pack was signed, as the note says: by a key that was in force then, where that key was given."""
        try:
            note = Note.parse(self._bytes(NOTE, MANIFEST_LIMIT).decode())
            before = pack_note_text(str(manifest.get("origin")), self.report.manifest, "").removesuffix("\n")
            said = note.text.removeprefix(before).removesuffix("\n")
            if note.text != pack_note_text(str(manifest.get("origin")), self.report.manifest, said):
                raise BadPack(f"{MANIFEST} was changed: it is not the one that was signed")
            at, made_at = _moment(said), _moment(manifest.get("made_at"))
            self.key = note.signer({key.id: key for key in self.keys})
        except (BadNote, UnicodeError) as error:
            raise BadPack(f"{NOTE} is damaged: {error}") from None
        self.report.signed_at = said
        if at is None:
            raise BadPack(f"{NOTE} is damaged: it says no time")
        if made_at is None or made_at > at + SKEW:
            raise BadPack(f"{MANIFEST}: it does not say when it was made, or a time after its signature")
        if self.key is None:
            self.report.remarks.append(f"the manifest is signed with the key {note.key_id}, which was not given")
        elif not self.key.valid_at(at):
            ended = f"; it was replaced at {self.key.valid_until.isoformat()}" if self.key.valid_until else ""
            raise BadPack(
                f"{NOTE}: the manifest says that it was signed at {said}, outside the validity of the key "
                f"{self.key.id}{ended}"
            )
        return at

    def _vouch(self) -> None:
        key = self.key
        if key is None:
            return
        if may_be_replaced(key, self.keys):
            self.report.remarks.append(
                f"whether the key {key.id} had been replaced cannot be told: the given keys have no dates"
            )
            return
        self.report.signed = True
        if key.valid_until is not None:
            self.report.remarks.append(
                f"the pack says that it was signed at {self.report.signed_at}, before the key {key.id} was replaced "
                f"({key.valid_until.isoformat()}): whoever has that key could have written it since"
            )

    def _in_time(self, said: Any, where: str, what: str) -> None:
        """Nothing in a pack happened after its signature, or a replaced key could sign what came after it."""
        if said is None:
            return
        at = _moment(said)
        if at is None:
            raise BadPack(f"{where}: it does not say when it {what}")
        if at > self.signed_at + SKEW:
            raise BadPack(f"{where}: it {what} at {said}, after the pack was signed ({self.report.signed_at})")

    def _names(self) -> None:
        there = self.archive.namelist()
        twice = [name for name, times in Counter(there).items() if times > 1]
        if twice:
            raise BadPack(f"{min(twice)} is there twice")
        for name in (*sorted(self.listed), *REQUIRED):
            if name not in there or name not in self.listed:
                raise BadPack(f"{name} is missing")
        strange = set(there) - self.listed.keys() - {MANIFEST, NOTE}
        if strange:
            raise BadPack(f"{min(strange)} was added: the manifest does not know it")

    def _file(self, name: str) -> None:
        listed, sha256, size = self.listed[name], hashlib.sha256(), 0
        try:
            with self._open(name) as file:
                while piece := file.read(PIECE):
                    sha256.update(piece)
                    size += len(piece)
                    if size > listed["size"]:
                        break  # what never ends need not be read to its end
        except DAMAGE:
            raise BadPack(f"{name} is damaged: it cannot be unpacked") from None
        if (sha256.hexdigest(), size) != (listed["sha256"], listed["size"]):
            try:
                where = self._where(name)
            except DAMAGE:
                where = ""  # what would say which line it was is damaged itself
            raise BadPack(f"{name} was changed{where}")
        self.report.files += 1

    def _where(self, name: str) -> str:
        """Which line it is, where the hashes of its lines are what was signed."""
        if name in (SNAPSHOTS, BLOCKS):
            for number, line in enumerate(self._raw_lines(name), start=1):
                if fault := _evidence_fault(line):
                    return f": line {number}: {fault}"
        if name == EXTRACT:
            with self._open(name) as file:
                return f": {fault}" if (fault := verify_file(file, keys=self.keys).fault) else ""
        beside = LINES + name
        listed = self.listed.get(beside)
        if listed is None or beside not in self.archive.NameToInfo:
            return ""
        sha256 = hashlib.sha256()
        with self._open(beside) as file:
            while piece := file.read(PIECE):
                sha256.update(piece)
        if sha256.hexdigest() != listed["sha256"]:
            return ""
        return _first_difference(
            lambda: (line.decode("ascii", "replace") for line in self._raw_lines(beside)),
            lambda: map(line_hash, self._raw_lines(name)),
        )

    def _raw_lines(self, name: str) -> Iterator[bytes]:
        limit = EVIDENCE_LIMIT if name in (SNAPSHOTS, BLOCKS) else ROW_LIMIT
        left = self.listed[name]["size"] + limit  # of a changed file some more, to say what was added
        with self._open(name) as file:
            for number in count(1):
                line = file.readline(limit + 1)
                left -= len(line)
                if len(line) > limit:
                    raise BadPack(f"{name}, line {number} is longer than any that was ever written")
                if left < 0:
                    raise BadPack(f"{name} was changed: it is larger than {MANIFEST} says")
                if not line:
                    return
                yield line.removesuffix(b"\n")

    def _records(self, name: str) -> Iterator[tuple[int, Record]]:
        shape = SHAPES[name]
        for number, line in enumerate(self._raw_lines(name), start=1):
            try:
                record = parse_line(line)
            except (ValueError, RecursionError):
                raise BadPack(f"{name}, line {number} is not as it was written") from None
            for column, is_right in shape.items():
                if column not in record or not is_right(record[column]):
                    raise BadPack(f"{name}, line {number} is not as it was written: {column!r} is missing or damaged")
            yield number, record

    # --- What the files say of each other --------------------------------------------------------------------

    def _population(self) -> None:
        """Every campaign's population adds up to its items and what was left out, and gives the hash of its launch."""
        found: dict[str, _Population] = defaultdict(_Population)
        for number, row in self._records(POPULATION):
            found[row["campaign"]].add(row, f"{POPULATION}, line {number}")
        self.answered: dict[str, set[bytes]] = defaultdict(set)
        self.items: dict[str, _Population] = found
        for number, campaign in self._records(CAMPAIGNS):
            here, where = found[campaign["campaign"]], f"{CAMPAIGNS}, line {number} ({campaign['name']})"
            told = (campaign["population"], campaign["items"], campaign["excluded"])
            counted = (here.number, here.number - here.excluded, here.excluded)
            if told != counted or told[0] != told[1] + told[2]:
                raise BadPack(
                    f"{where}: the population does not tie out: it says {told[0]} = {told[1]} + {told[2]}, "
                    f"{POPULATION} holds {counted[0]} = {counted[1]} + {counted[2]}"
                )
            if campaign["population_hash"] and campaign["population_hash"] != here.sha256:
                raise BadPack(f"{where}: {POPULATION} does not give the hash that was written down at its launch")
            if campaign["states"] != dict(here.states):
                raise BadPack(f"{where}: the states of its items are not those in {POPULATION}")
            if sum(campaign["parts"].values()) != campaign["items"]:
                raise BadPack(f"{where}: the parts of its items do not add up to all of them")
            self._in_time(campaign["launched_at"], where, "was launched")
            self._in_time(campaign["completed_at"], where, "was completed")
            self.report.campaigns += 1
            self.report.population += here.number
            self.report.items += here.number - here.excluded
        if strange := found.keys() - {row["campaign"] for _number, row in self._records(CAMPAIGNS)}:
            raise BadPack(f"{POPULATION}: the campaign {min(strange)} is not in {CAMPAIGNS}")

    def _decisions(self) -> None:
        """Signatures cover exactly these decisions, and every decision's evidence is there and is what it was."""
        signatures = {}
        for number, row in self._records(SIGN_OFFS):
            where = f"{SIGN_OFFS}, line {number}"
            if row["id"] in signatures:
                raise BadPack(f"{where}: signature {row['id']} is there twice")
            self._in_time(row["at"], where, "was given")
            signatures[row["id"]] = number, row
        roots: dict[str, _Root] = defaultdict(_Root)
        wanted: dict[bytes, set[str]] = {}
        named: dict[bytes, int] = {}
        for number, row in self._records(DECISIONS):
            where = f"{DECISIONS}, line {number}"
            known = self.items.get(row["campaign"])
            if known is None or UUID(row["item"]).bytes not in known.ids:
                raise BadPack(f"{where}: decision {row['id']} is about an item that is not in {POPULATION}")
            if row["sign_off"] not in signatures:
                raise BadPack(f"{where}: decision {row['id']} is under a signature that is not in {SIGN_OFFS}")
            if not roots[row["sign_off"]].add(row):
                raise BadPack(f"{where}: decision {row['id']} was inserted, repeated or moved")
            self._in_time(row["signed_at"], where, "was signed")
            self._conflicts(row, where)
            key = bytes.fromhex(row["evidence_hash"])
            wanted.setdefault(key, set()).add(row["reviewer"])
            named.setdefault(key, number)
            self.report.decisions += 1
        for id, (number, row) in signatures.items():
            where = f"{SIGN_OFFS}, line {number}"
            if row["kind"] != "reviewer":
                continue
            root = roots.get(id) or _Root()
            if (root.sha256, root.number) != (row["root"], row["decisions"]):
                raise BadPack(
                    f"{where}: signature {id} is under {row['decisions']} decisions with another root than the "
                    f"{root.number} in {DECISIONS}"
                )
        self._whole_signatures(list(signatures.values()))
        self.report.sign_offs = len(signatures)
        self._evidence(wanted, named)

    def _whole_signatures(self, signatures: list[tuple[int, Record]]) -> None:
        """An owner's or an auditor's signature covers the population and every signature before it."""
        hashes = {row["campaign"]: row["population_hash"] for _number, row in self._records(CAMPAIGNS)}
        before: dict[str, list[str]] = defaultdict(list)
        for number, row in sorted(signatures, key=lambda each: each[1]["id"]):
            earlier = before[row["campaign"]]
            covered = {"population": hashes.get(row["campaign"], ""), "sign_offs": earlier}
            if row["kind"] != "reviewer" and digest(covered) != row["root"]:
                raise BadPack(f"{SIGN_OFFS}, line {number}: signature {row['id']} is not under what stands here")
            earlier.append(row["root"])

    def _conflicts(self, row: Record, where: str) -> None:
        """What the registry found on the day of the pack: whoever registered or requested a thing always has."""
        stakes = list(filter(None, row["stakes_today"].split("; ")))
        if lasting := [each for each in stakes if each.startswith(LASTING)]:
            raise BadPack(
                f"{where}: {row['reviewer']} decided on {row['item']}, of which the registry says today that they "
                f"{' and '.join(lasting)}, which does not change hands"
            )
        if stakes:
            self._conflict(f"{where}: {row['reviewer']} decided on {row['item']}, and today {' and '.join(stakes)}")

    def _conflict(self, said: str) -> None:
        self.report.conflicts += 1
        if self.report.conflicts <= NAMED:
            self.report.remarks.append(said)

    def _evidence(self, wanted: Mapping[bytes, set[str]], named: Mapping[bytes, int]) -> None:
        blocks: dict[str, Record] = {}
        there = set()
        for number, line in enumerate(self._raw_lines(BLOCKS), start=1):
            content, name = self._content(line, f"{BLOCKS}, line {number}")
            blocks[name] = _people(_inner(content, "server", "stakes"))
        for number, line in enumerate(self._raw_lines(SNAPSHOTS), start=1):
            where = f"{SNAPSHOTS}, line {number}"
            snapshot, name = self._content(line, where)
            facts, context = _inner(snapshot, "facts"), _inner(snapshot, "context")
            block = context.get("block")
            if block is not None and (not isinstance(block, str) or block not in blocks):
                raise BadPack(f"{where}: the block {block} that {name} rests on is not in {BLOCKS}")
            key = bytes.fromhex(name)
            there.add(key)
            around = {**blocks.get(block or "", {}), **_people(_inner(context, "stakes"))}
            for reviewer in wanted.get(key, ()):
                if stake := frozen_stake(facts, around, reviewer):
                    raise BadPack(f"{where}: {reviewer} decided on {name}, which says that they are its {stake}")
                if once := [STAKES.get(role, role) for role, person in around.items() if person == reviewer]:
                    self._conflict(
                        f"{where}: {reviewer} decided on {name}, which says that at its launch they were "
                        f"{' and '.join(once)} of the server"
                    )
            self.report.evidence += 1
        for key, number in named.items():
            if key not in there:
                raise BadPack(f"{DECISIONS}, line {number}: its evidence {key.hex()} is not in {SNAPSHOTS}")

    @staticmethod
    def _content(line: bytes, where: str) -> tuple[Record, str]:
        if fault := _evidence_fault(line):
            raise BadPack(f"{where}: {fault}")
        content, name = read_evidence(line)
        try:
            return parse_line(content), name
        except (ValueError, RecursionError):
            raise BadPack(f"{where}: this is no evidence as it was written") from None

    def _events(self) -> None:
        with self._open(EXTRACT) as file:
            found = verify_file(file, keys=self.keys)
        if found.fault:
            raise BadPack(f"{EXTRACT}: {found.fault}")
        self._in_time(found.made_at or None, EXTRACT, "was signed")
        self.report.events = found.events
        self.report.vouched = found.fully_vouched
        self.report.remarks += [f"{EXTRACT}: {remark}" for remark in found.remarks]


# --- Shapes ------------------------------------------------------------------------------------------------


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_count, value.values()))


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def _is_id(value: Any) -> bool:
    try:
        return str(UUID(value)) == value
    except (ValueError, TypeError, AttributeError):
        return False


def _is_id_or_none(value: Any) -> bool:
    return value is None or _is_id(value)


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_anything(_value: Any) -> bool:
    return True


Shape = Mapping[str, Callable[[Any], bool]]
SHAPES: Mapping[str, Shape] = {
    CAMPAIGNS: {
        "campaign": _is_text, "name": _is_text, "population": _is_count, "items": _is_count, "excluded": _is_count,
        "population_hash": _is_text, "states": _is_counts, "parts": _is_counts, "launched_at": _is_text_or_none,
        "completed_at": _is_text_or_none,
    },
    POPULATION: {
        "campaign": _is_text, "position": _is_count, "kind": _is_text, "subject": _is_anything,
        "excluded_because": _is_text, "item": _is_id_or_none, "state": _is_text_or_none,
    },
    DECISIONS: {
        **dict.fromkeys(SIGNED, _is_anything), "id": _is_text, "item": _is_id, "campaign": _is_text,
        "evidence_hash": _is_hash, "reviewer": _is_text, "sign_off": _is_text, "signed_at": _is_text,
        "stakes_today": _is_text,
    },
    SIGN_OFFS: {
        "id": _is_text, "campaign": _is_text, "kind": _is_text, "root": _is_text, "decisions": _is_count,
        "at": _is_text,
    },
}  # fmt: skip
"""What this verifier reads of the lines of each file, and how it was written."""


def _inner(record: Record, *names: str) -> Record:
    """The object inside of an object; empty where there is none."""
    for name in names:
        found = record.get(name)
        record = found if isinstance(found, dict) else {}
    return record


def _people(roles: Record) -> dict[str, str]:
    return {role: person for role, person in roles.items() if isinstance(person, str)}


def _moment(said: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(said)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo is not None else None


class _Population:
    """One campaign's population as it is read."""

    def __init__(self) -> None:
        self.number = self.excluded = 0
        self.states: Counter[str] = Counter()
        self.ids: set[bytes] = set()
        self._sha256 = hashlib.sha256(b"[")

    def add(self, row: Record, where: str) -> None:
        if row["position"] != self.number + 1:
            raise BadPack(f"{where}: position {self.number + 1} is missing")
        entry = canonical_json([row["kind"], row["subject"], row["excluded_because"]])
        self._sha256.update((b"," if self.number else b"") + entry)
        self.number += 1
        if row["excluded_because"]:
            self.excluded += 1
        else:
            if not row["item"]:
                raise BadPack(f"{where}: it is neither an item nor left out with a reason")
            self.states[row["state"]] += 1
            self.ids.add(UUID(row["item"]).bytes)

    @property
    def sha256(self) -> str:
        whole = self._sha256.copy()
        whole.update(b"]")
        return whole.hexdigest()


class _Root:
    """What one signature covers, as it is read: the canonical list of its decisions by id."""

    def __init__(self) -> None:
        self.number, self._last = 0, ""
        self._sha256 = hashlib.sha256(b"[")

    def add(self, row: Record) -> bool:
        if row["id"] <= self._last:
            return False
        self._last = row["id"]
        self._sha256.update((b"," if self.number else b"") + canonical_json({name: row[name] for name in SIGNED}))
        self.number += 1
        return True

    @property
    def sha256(self) -> str:
        whole = self._sha256.copy()
        whole.update(b"]")
        return whole.hexdigest()


def _evidence_fault(line: bytes) -> str:
    try:
        content, name = read_evidence(line)
    except ValueError:
        return "this is no evidence as it was written"
    return "" if hashlib.sha256(content).hexdigest() == name else f"the evidence {name} was changed"


def _first_difference(expected: Callable[[], Iterator[str]], found: Callable[[], Iterator[str]]) -> str:
    """Which line is not the one that was written. Both are read line by line, twice."""
    lengths = sum(1 for _ in expected()), sum(1 for _ in found())
    written, here = expected(), found()
    for number, (was, now) in enumerate(zip(written, here, strict=False), start=1):
        if was == now:
            continue
        if lengths[1] < lengths[0] and next(written, None) == now:
            return f": line {number} is missing"
        if lengths[1] > lengths[0] and was == next(here, None):
            return f": line {number} was added"
        return f": line {number} is not the one that was written"
    if lengths[1] < lengths[0]:
        return f": it ends after line {lengths[1]}, line {lengths[1] + 1} is missing"
    return f": line {lengths[0] + 1} was added" if lengths[1] > lengths[0] else ""


# --- Command -----------------------------------------------------------------------------------------------


def outcome(report: PackReport) -> tuple[str, int]:
    """What to say, and the exit code."""
    if report.fault:
        return f"BAD: {visible(report.fault)}", 1
    whole = report.signed and report.vouched
    said = [
        f"{'verified' if whole else 'consistent'}: {report.files} files, {report.campaigns} campaigns, "
        f"population {report.population}, {report.items} items, {report.decisions} decisions under "
        f"{report.sign_offs} signatures, {report.evidence} pieces of evidence, {report.events} events",
        f"manifest {report.manifest}, signed {report.signed_at}",
        *map(visible, report.remarks),
    ]
    if report.conflicts:
        said.append(f"conflicts: {report.conflicts} decisions by somebody with a stake before or after; ask why")
    if not whole:
        said.append("the given keys do not vouch for all of it")
    return "\n".join(said), 0 if whole else 3


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m registry.reviews.pack_verifier", description="Verify an audit pack offline."
    )
    parser.add_argument("pack", type=Path, help="the archive to verify")
    parser.add_argument("--key", action="append", default=[], metavar="FILE", help="public keys; may be repeated")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    options = parser.parse_args(arguments)
    try:
        keys = [key for path in options.key for key in read_keys(Path(path).read_text())]
        report = verify_pack(options.pack, keys)
    except (OSError, UnicodeError, BadNote) as error:
        sys.stderr.write(f"cannot be verified: {error}\n")
        return 2
    said, code = outcome(report)
    if options.format == "json":
        said = json.dumps(asdict(report))
    (sys.stderr if code == 1 and options.format == "text" else sys.stdout).write(f"{said}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
