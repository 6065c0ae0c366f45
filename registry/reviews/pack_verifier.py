"""Verifies an audit pack with nothing but public keys of the registry that made it.

    python -m registry.reviews.pack_verifier PACK.zip --key KEYS

Needs no database and no settings; of other people's code only `cryptography` and `rfc8785`. It stops at the first bad
file or record and names it. docs/audit-pack.md says what is in a pack and what its verification proves.

Exit codes: 0 everything is what was packed and signed; 1 a file or record is bad; 2 the question could not be read;
3 nothing contradicts anything, but part of it is vouched for by no signature of the given keys.
"""

import argparse
import hashlib
import json
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any
from uuid import UUID
from zipfile import BadZipFile, ZipFile

from registry.audit.notes import BadNote, Note, PublicKey, read_keys
from registry.audit.verifier import parse_line, verify_file
from registry.core.canonical import canonical_json, digest
from registry.reviews.pack_format import (
    BLOCKS,
    CAMPAIGNS,
    DECISIONS,
    EXTRACT,
    FORMAT,
    LINES,
    MANIFEST,
    NOTE,
    POPULATION,
    SIGN_OFFS,
    SIGNED,
    SNAPSHOTS,
    line_hash,
    pack_note_text,
    read_evidence,
)

Record = dict[str, Any]
DAMAGE = (BadZipFile, zlib.error, EOFError, OSError, RuntimeError)
"""What zipfile raises when flipped bytes make of an archive or member something cut off, packed in an unknown way or
encrypted (the last two are a RuntimeError)."""
REQUIRED = (CAMPAIGNS, POPULATION, DECISIONS, SIGN_OFFS, SNAPSHOTS, BLOCKS, EXTRACT)
PIECE = 1 << 16
MANIFEST_LIMIT = 1 << 20


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
    manifest: str = ""
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
        self.archive, self.keys, self.report = archive, keys, report
        self.listed: dict[str, Record] = {}

    def verify(self) -> None:
        manifest = self._manifest()
        self._signature(manifest)
        self._names()
        for name in sorted(self.listed):
            self._file(name)
        self._population()
        self._decisions()
        self._events()

    # --- Files ---------------------------------------------------------------------------------------------

    def _bytes(self, name: str, limit: int) -> bytes:
        try:
            with self.archive.open(name) as file:
                found = file.read(limit + 1)
        except KeyError:
            raise BadPack(f"{name} is missing") from None
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
                if each["name"] in self.listed or not isinstance(each["sha256"], str):
                    raise ValueError
                self.listed[each["name"]] = each
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BadPack(f"{MANIFEST} is damaged: it is not as it was written") from None
        return found

    def _signature(self, manifest: Record) -> None:
        try:
            note = Note.parse(self._bytes(NOTE, MANIFEST_LIMIT).decode())
        except (BadNote, UnicodeError) as error:
            raise BadPack(f"{NOTE} is damaged: {error}") from None
        expected = pack_note_text(str(manifest.get("origin")), self.report.manifest, str(manifest.get("made_at")))
        if note.text != expected:
            raise BadPack(f"{MANIFEST} was changed: it is not the one that was signed")
        key = next((each for each in self.keys if each.id == note.key_id), None)
        if key is None:
            self.report.remarks.append(f"the manifest is signed with the key {note.key_id}, which was not given")
        elif not note.is_signed_by(key):
            raise BadPack(f"{NOTE}: the manifest was not signed by the key {key.id}")
        else:
            self.report.signed = True

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
            with self.archive.open(name) as file:
                while piece := file.read(PIECE):
                    sha256.update(piece)
                    size += len(piece)
                    if size > listed.get("size", 0):
                        break  # what never ends need not be read to its end
        except DAMAGE:
            raise BadPack(f"{name} is damaged: it cannot be unpacked") from None
        if sha256.hexdigest() != listed["sha256"]:
            raise BadPack(f"{name} was changed{self._where(name)}")
        self.report.files += 1

    def _where(self, name: str) -> str:
        """Which line it is, where the hashes of its lines are what was signed."""
        if name in (SNAPSHOTS, BLOCKS):
            for number, line in enumerate(self._raw_lines(name), start=1):
                if fault := _evidence_fault(line):
                    return f": line {number}: {fault}"
        beside = LINES + name
        listed = self.listed.get(beside)
        if listed is None:
            return ""
        try:
            hashes = self._bytes(beside, listed.get("size", 0))
        except BadPack:
            return ""
        if hashlib.sha256(hashes).hexdigest() != listed["sha256"]:
            return ""
        return _first_difference(hashes.decode().split(), list(map(line_hash, self._raw_lines(name))))

    def _raw_lines(self, name: str) -> Iterator[bytes]:
        with self.archive.open(name) as file:
            for line in file:
                yield line.removesuffix(b"\n")

    def _records(self, name: str) -> Iterator[tuple[int, Record]]:
        for number, line in enumerate(self._raw_lines(name), start=1):
            try:
                yield number, parse_line(line)
            except (ValueError, RecursionError):
                raise BadPack(f"{name}, line {number} is not as it was written") from None

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
            self.report.campaigns += 1
            self.report.population += here.number
            self.report.items += here.number - here.excluded
        if strange := found.keys() - {row["campaign"] for _number, row in self._records(CAMPAIGNS)}:
            raise BadPack(f"{POPULATION}: the campaign {min(strange)} is not in {CAMPAIGNS}")

    def _decisions(self) -> None:
        """Signatures cover exactly these decisions, and every decision's evidence is there and is what it was."""
        signatures = {row["id"]: (number, row) for number, row in self._records(SIGN_OFFS)}
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

    def _evidence(self, wanted: Mapping[bytes, set[str]], named: Mapping[bytes, int]) -> None:
        blocks, there = set(), set()
        for number, line in enumerate(self._raw_lines(BLOCKS), start=1):
            if fault := _evidence_fault(line):
                raise BadPack(f"{BLOCKS}, line {number}: {fault}")
            blocks.add(read_evidence(line)[1])
        for number, line in enumerate(self._raw_lines(SNAPSHOTS), start=1):
            where = f"{SNAPSHOTS}, line {number}"
            if fault := _evidence_fault(line):
                raise BadPack(f"{where}: {fault}")
            content, name = read_evidence(line)
            snapshot = json.loads(content)
            block = snapshot["context"].get("block")
            if block is not None and block not in blocks:
                raise BadPack(f"{where}: the block {block} that {name} rests on is not in {BLOCKS}")
            key = bytes.fromhex(name)
            there.add(key)
            for reviewer in wanted.get(key, ()):
                if stake := _stake(snapshot["facts"], reviewer):
                    raise BadPack(f"{where}: {reviewer} decided on {name}, which says that they are its {stake}")
            self.report.evidence += 1
        for key, number in named.items():
            if key not in there:
                raise BadPack(f"{DECISIONS}, line {number}: its evidence {key.hex()} is not in {SNAPSHOTS}")

    def _events(self) -> None:
        with self.archive.open(EXTRACT) as file:
            found = verify_file(file, keys=self.keys)
        if found.fault:
            raise BadPack(f"{EXTRACT}: {found.fault}")
        self.report.events = found.events
        self.report.vouched = found.fully_vouched
        self.report.remarks += [f"{EXTRACT}: {remark}" for remark in found.remarks]


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


def _stake(facts: Mapping[str, Any], reviewer: str) -> str:
    """What the frozen facts say a reviewer is to the subject, where that bars them; empty where it does not."""
    stakes = {"owner": "owner", "deputy": "deputy", "operator": "operator", "agent_owner": "owner on the agent's side"}
    return next((words for name, words in stakes.items() if facts.get(name) == reviewer), "")


def _first_difference(expected: list[str], found: list[str]) -> str:
    number = next((n for n, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), None)
    if number is None:
        if len(found) < len(expected):
            return f": it ends after line {len(found)}, line {len(found) + 1} is missing"
        return f": line {len(expected) + 1} was added" if len(found) > len(expected) else ""
    if len(found) < len(expected) and expected[number + 1 : number + 2] == found[number : number + 1]:
        return f": line {number + 1} is missing"
    if len(found) > len(expected) and expected[number] == found[number + 1]:
        return f": line {number + 1} was added"
    return f": line {number + 1} is not the one that was written"


# --- Command -----------------------------------------------------------------------------------------------


def outcome(report: PackReport) -> tuple[str, int]:
    """What to say, and the exit code."""
    if report.fault:
        return f"BAD: {report.fault}", 1
    whole = report.signed and report.vouched
    said = [
        f"{'verified' if whole else 'consistent'}: {report.files} files, {report.campaigns} campaigns, "
        f"population {report.population}, {report.items} items, {report.decisions} decisions under "
        f"{report.sign_offs} signatures, {report.evidence} pieces of evidence, {report.events} events",
        f"manifest {report.manifest}",
        *report.remarks,
    ]
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
