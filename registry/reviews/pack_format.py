"""What an audit pack is made of, for whoever writes one and for whoever verifies one. Knows no Django.

`manifest.json` (RFC 8785) names every other file but the signature under itself, `manifest.note`. Files of rows have a
sibling under `lines/` with a short hash of each line: the manifest proves the file, the sibling says which line is not
what was written.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

FORMAT = "steward-pack/1"
MANIFEST, NOTE = "manifest.json", "manifest.note"
CAMPAIGNS = "campaigns.jsonl"
POPULATION = "population.jsonl"
DECISIONS = "decisions.jsonl"
SIGN_OFFS = "sign-offs.jsonl"
SNAPSHOTS, BLOCKS = "evidence/snapshots.jsonl", "evidence/blocks.jsonl"
EXTRACT = "audit/extract.jsonl"
LINES = "lines/"

SIGNED = ("id", "item", "value", "kept", "until", "reason", "evidence_hash")
"""What a reviewer's signature covers of a decision; its root is the SHA-256 over a canonical list of these, by id."""

LASTING = ("registered", "requested")
"""How stakes begin that never change hands: who has one on the day of the pack had it on the day of the decision."""

STAKES = {
    "requested": "requester",
    "registered": "registrant",
    "submitted": "submitter",
    "agent_registered": "registrant on the agent's side",
}
"""Roles in `stakes` of frozen evidence that are not said as they are written."""
_IN_FACTS = {"owner": "owner", "deputy": "deputy", "operator": "operator", "agent_owner": "owner on the agent's side"}
_FOR_GOOD = ("requested", "registered", "agent_registered")

BEGIN, MIDDLE, END = b'{"content":', b',"sha256":"', b'"}'


def pack_note_text(origin: str, sha256: str, at: str) -> str:
    """What is signed: no checkpoint and no export looks like it, for its second line differs."""
    return f"{origin}\npack\n{sha256}\ntime {at}\n"


def line_hash(line: bytes) -> str:
    """Tells lines apart, no more: what proves a file is its SHA-256 in the manifest."""
    return hashlib.sha256(line).hexdigest()[:16]


def frozen_stake(facts: Mapping[str, Any], around: Mapping[str, Any], person: str) -> str:
    """What frozen evidence says a person is to the subject, where that bars them; empty where it does not.

    Facts are asked again when they change, and who registered or requested a thing always did. What else is `around`
    a subject may have changed hands between its launch and the decision.
    """
    told = [words for name, words in _IN_FACTS.items() if facts.get(name) == person]
    return next(iter([*told, *(STAKES[name] for name in _FOR_GOOD if around.get(name) == person)]), "")


def evidence_line(content: bytes, sha256: str) -> bytes:
    """Evidence under its name; `content` is canonical JSON, so the line is, too."""
    return BEGIN + content + MIDDLE + sha256.encode() + END


def read_evidence(line: bytes) -> tuple[bytes, str]:
    """Content and name. Raises `ValueError` for a line that is not written like that."""
    end = len(line) - len(END) - 64
    if not line.startswith(BEGIN) or not line.endswith(END) or line[end - len(MIDDLE) : end] != MIDDLE:
        raise ValueError("not evidence")
    return line[len(BEGIN) : end - len(MIDDLE)], line[end : -len(END)].decode()
