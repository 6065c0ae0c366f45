"""Signed notes (C2SP signed-note, Ed25519) and the checkpoints of a log written as such (C2SP tlog-checkpoint).

A checkpoint says: this log had this many entries, and this was the root over them, then. Its text:

    steward.example.org/audit
    20852163
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
    time 2026-11-22T09:29:31Z

    — steward.example.org/audit Az3grl…

Knows neither Django nor a database: the offline verifier reads notes with the same code that wrote them.
"""

import hashlib
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ED25519 = b"\x01"
DASH = "\u2014 "
VALIDITY = "# valid "
_VALIDITY = re.compile(r"# valid from (\S+)(?: until (\S+))?")


class BadNote(ValueError):
    """Says what is wrong with a note, a key or a checkpoint."""


def decode(text: str) -> bytes:
    """Base64 as it is written and no other spelling of the same bytes. Raises `ValueError`."""
    raw = b64decode(text, validate=True)
    if b64encode(raw).decode() != text:
        raise ValueError("not the canonical form")
    return raw


Validity = tuple[datetime | None, datetime | None]


@dataclass(frozen=True)
class PublicKey:
    """A key that notes are verified with, written as `name+id+key` (a "vkey").

    `valid_from` and `valid_until` are None where whoever gave the key did not say.
    """

    name: str
    raw: bytes
    valid_from: datetime | None = None
    valid_until: datetime | None = None

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that tell keys apart; signatures carry them."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.raw).hexdigest()[:8]

    def __str__(self) -> str:
        return f"{self.name}+{self.id}+{b64encode(ED25519 + self.raw).decode()}"

    @classmethod
    def parse(cls, text: str, valid_from: datetime | None = None, valid_until: datetime | None = None) -> Self:
        try:
            name, key_id, encoded = text.strip().split("+", 2)
            raw = decode(encoded)
        except ValueError:
            raise BadNote("a public key is written as name+id+key") from None
        if len(raw) != 33 or raw[:1] != ED25519:
            raise BadNote(f"the key {key_id} is no Ed25519 key")
        key = cls(name, raw[1:], valid_from, valid_until)
        if key.id != key_id:
            raise BadNote(f"the key {key_id} was changed: its id would be {key.id}")
        return key

    def verifies(self, text: str, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True

    @property
    def is_dated(self) -> bool:
        """Whether it is known since when or until when it signed."""
        return self.valid_from is not None or self.valid_until is not None

    def valid_at(self, moment: datetime) -> bool:
        return (self.valid_from is None or self.valid_from <= moment) and (
            self.valid_until is None or moment <= self.valid_until
        )


def public_key(name: str, private: Ed25519PrivateKey) -> PublicKey:
    return PublicKey(name, private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def read_keys(text: str) -> list[PublicKey]:
    """Keys as `write_keys` writes them, or the JSON that `/api/v1/audit/keys` answers. Raises `BadNote`."""
    if text.lstrip().startswith(("{", "[")):
        try:
            listed = json.loads(text)
            listed = listed.get("results", listed) if isinstance(listed, dict) else listed
            return [
                PublicKey.parse(each["key"], *_validity(each.get("valid_from"), each.get("valid_until")))
                for each in listed
            ]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise error if isinstance(error, BadNote) else BadNote("this is no list of keys") from None
    found: list[PublicKey] = []
    dates: Validity = (None, None)
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith(VALIDITY):
            dates = _validity_line(line)
        elif not line.startswith("#"):
            found.append(PublicKey.parse(line, *dates))
            dates = (None, None)
    return found


def write_keys(keys: Iterable[PublicKey]) -> str:
    """One key per line. When it signed stands above it, in a comment: other readers of such keys pass over that."""
    lines = []
    for key in keys:
        if key.valid_from is not None:
            until = f" until {key.valid_until.isoformat()}" if key.valid_until else ""
            lines.append(f"{VALIDITY}from {key.valid_from.isoformat()}{until}")
        lines.append(str(key))
    return "".join(f"{line}\n" for line in lines)


def _validity_line(line: str) -> Validity:
    # A date that is not understood must not make of a replaced key one that is valid for ever.
    match = _VALIDITY.fullmatch(line)
    if match is None:
        raise BadNote("the validity of a key is written as: # valid from TIME until TIME")
    return _validity(*match.groups())


def _validity(since: str | None, until: str | None) -> Validity:
    try:
        found = tuple(datetime.fromisoformat(each) if each else None for each in (since, until))
    except (ValueError, TypeError):
        found = ()
    if not found or any(each is not None and each.tzinfo is None for each in found):
        raise BadNote("the validity of a key is no time with its zone")
    return found[0], found[1]


def in_force(keys: Iterable[PublicKey]) -> list[PublicKey]:
    """Each key once, with the narrowest validity that was said of it; of one log a key ends where the next begins."""
    merged: dict[str, PublicKey] = {}
    for key in keys:
        before = merged.get(key.id, key)
        begins = [each.valid_from for each in (before, key) if each.valid_from]
        ends = [each.valid_until for each in (before, key) if each.valid_until]
        merged[key.id] = replace(key, valid_from=max(begins, default=None), valid_until=min(ends, default=None))
    dated = sorted((each.name, each.valid_from, each.id) for each in merged.values() if each.valid_from)
    for (name, _begin, id), (next_name, end, _next) in pairwise(dated):
        if name == next_name:
            merged[id] = replace(merged[id], valid_until=min(merged[id].valid_until or end, end))
    return list(merged.values())


def may_be_replaced(key: PublicKey, keys: Iterable[PublicKey]) -> bool:
    """Whether nobody can tell: there are others of its log, and it has no dates."""
    return not key.is_dated and any(each.name == key.name and each.id != key.id for each in keys)


# --- Notes -------------------------------------------------------------------------------------------------


def sign(text: str, name: str, private: Ed25519PrivateKey) -> str:
    """The note: `text`, which ends with a newline, an empty line, and the signature."""
    key_id = bytes.fromhex(public_key(name, private).id)
    signature = b64encode(key_id + private.sign(text.encode())).decode()
    return f"{text}\n{DASH}{name} {signature}\n"


def _signature(line: str) -> tuple[str, bytes]:
    name, _space, encoded = line.removeprefix(DASH).rpartition(" ")
    try:
        raw = decode(encoded)
    except ValueError:
        raw = b""
    if not line.startswith(DASH) or not name or len(raw) < 5:
        raise BadNote("a signature line is damaged")
    return name, raw


@dataclass(frozen=True)
class Note:
    text: str
    name: str
    key_id: str
    signature: bytes

    @classmethod
    def parse(cls, note: str) -> Self:
        """Raises `BadNote`. Of several signatures the first counts; others may be witnesses'."""
        text, gap, signatures = note.rpartition("\n\n")
        lines = signatures.split("\n")
        if not gap or lines.pop() or not lines:
            raise BadNote("a signature line is damaged")
        (name, raw), *_others = map(_signature, lines)
        if len(raw) != 68:
            raise BadNote("a signature line is damaged")
        return cls(f"{text}\n", name, raw[:4].hex(), raw[4:])

    def is_signed_by(self, key: PublicKey) -> bool:
        return (self.name, self.key_id) == (key.name, key.id) and key.verifies(self.text, self.signature)

    def signer(self, keys: Mapping[str, PublicKey]) -> PublicKey | None:
        """The key of `keys` (by id) that signed it; None when it is none of them.

        Raises `BadNote` for a signature that is not what it says: of a named key that did not make it, or of one that
        did and is not named, which is how a changed key id looks.
        """
        key = keys.get(self.key_id)
        if key is None:
            for each in keys.values():
                if each.verifies(self.text, self.signature):
                    raise BadNote(f"it names the key {self.key_id} and was signed by the key {each.id}")
            return None
        if not self.is_signed_by(key):
            raise BadNote(f"it was not signed by the key {key.id}")
        return key


@dataclass(frozen=True)
class Checkpoint:
    origin: str
    tree_size: int
    root: bytes
    at: datetime

    @property
    def text(self) -> str:
        root = b64encode(self.root).decode()
        at = self.at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        return f"{self.origin}\n{self.tree_size}\n{root}\ntime {at}Z\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `BadNote` for anything that `text` would not have written."""
        try:
            origin, size, root, at = text.removesuffix("\n").split("\n")
            found = cls(origin, int(size), decode(root), datetime.fromisoformat(at.removeprefix("time ")))
        except (ValueError, OverflowError):
            raise BadNote("a checkpoint has four lines: origin, tree size, root and time") from None
        if found.text != text or len(found.root) != 32:
            raise BadNote("a checkpoint is not written as it was signed")
        return found


def split_notes(text: str) -> Iterator[str]:
    """The notes of a file that they were appended to one by one."""
    lines: list[str] = []
    for line in text.split("\n"):
        if lines and lines[-1].startswith(DASH) and not line.startswith(DASH):
            yield _joined(lines)
            lines = []
        if lines or line.strip():
            lines.append(line)
    if lines:
        yield _joined(lines)


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
