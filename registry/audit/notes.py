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
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ED25519 = b"\x01"
DASH = "\u2014 "


class BadNote(ValueError):
    """Says what is wrong with a note, a key or a checkpoint."""


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
            raw = b64decode(encoded, validate=True)
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

    def valid_at(self, moment: datetime) -> bool:
        return (self.valid_from is None or self.valid_from <= moment) and (
            self.valid_until is None or moment <= self.valid_until
        )


def public_key(name: str, private: Ed25519PrivateKey) -> PublicKey:
    return PublicKey(name, private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def read_keys(text: str) -> list[PublicKey]:
    """Keys one per line, or the JSON that `/api/v1/audit/keys` answers, with their validity. Raises `BadNote`."""
    if text.lstrip().startswith(("{", "[")):
        try:
            listed = json.loads(text)
            listed = listed.get("results", listed) if isinstance(listed, dict) else listed
            return [PublicKey.parse(each["key"], _moment(each, "from"), _moment(each, "until")) for each in listed]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise error if isinstance(error, BadNote) else BadNote("this is no list of keys") from None
    lines = [line.strip() for line in text.splitlines()]
    return [PublicKey.parse(line) for line in lines if line and not line.startswith("#")]


def _moment(listed: Mapping[str, Any], end: str) -> datetime | None:
    said = listed.get(f"valid_{end}")
    return datetime.fromisoformat(said) if said else None


# --- Notes -------------------------------------------------------------------------------------------------


def sign(text: str, name: str, private: Ed25519PrivateKey) -> str:
    """The note: `text`, which ends with a newline, an empty line, and the signature."""
    key_id = bytes.fromhex(public_key(name, private).id)
    signature = b64encode(key_id + private.sign(text.encode())).decode()
    return f"{text}\n{DASH}{name} {signature}\n"


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
        first = signatures.split("\n", 1)[0]
        name, _space, encoded = first.removeprefix(DASH).rpartition(" ")
        try:
            raw = b64decode(encoded, validate=True)
        except ValueError:
            raw = b""
        if not gap or not first.startswith(DASH) or not name or len(raw) != 68:
            raise BadNote("a signature line is damaged")
        return cls(f"{text}\n", name, raw[:4].hex(), raw[4:])

    def is_signed_by(self, key: PublicKey) -> bool:
        return (self.name, self.key_id) == (key.name, key.id) and key.verifies(self.text, self.signature)


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
            found = cls(
                origin, int(size), b64decode(root, validate=True), datetime.fromisoformat(at.removeprefix("time "))
            )
        except ValueError:
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
