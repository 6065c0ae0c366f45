"""What the columns say beside what is signed and sealed: they are read, so they must say the same."""

from datetime import datetime
from itertools import count
from typing import Any

from registry.audit.log import CHUNK, moment
from registry.audit.models import Checkpoint, Event, LogKey
from registry.audit.notes import BadNote, Note
from registry.audit.notes import Checkpoint as Said
from registry.audit.subjects import LOG

INTRODUCED = ("audit.key_introduced", "audit.key_replaced")


def changed_rows() -> str:
    """The first checkpoint or key whose row is not what was signed or sealed; empty when there is none."""
    return _changed_checkpoint() or _changed_key()


def _changed_checkpoint() -> str:
    for number, row in zip(count(1), Checkpoint.objects.order_by("number").iterator(chunk_size=CHUNK), strict=False):
        if row.number != number:
            return f"checkpoint {number} is missing"
        try:
            note = Note.parse(row.note)
            said = Said.parse(note.text)
        except BadNote as error:
            return f"checkpoint {number} is damaged: {error}"
        pairs: dict[str, tuple[Any, Any]] = {
            "tree size": (row.tree_size, said.tree_size),
            "root": (row.root_hash, said.root.hex()),
            "time": (row.signed_at, said.at),
            "key": (row.key_id, note.key_id),
        }
        for name, (stored, signed) in pairs.items():
            if stored != signed:
                return (
                    f"the {name} of checkpoint {number} over {said.tree_size} entries was changed: "
                    f"it says {_written(stored)}, signed was {_written(signed)}"
                )
    return ""


def _changed_key() -> str:
    """The log itself says which keys there are since when; what was said first counts."""
    said: dict[str, Event] = {}
    # By thing, for there is no index over acts.
    about_log = Event.objects.filter(subject_type=LOG.subject_type, subject_id=LOG.pk)
    for event in about_log.filter(act__in=INTRODUCED).order_by("seal__position"):  # those without a seal come last
        said.setdefault(str(event.data.get("key")), event)
    rows = {row.key_id: row for row in LogKey.objects.all()}
    for key_id, row in rows.items():
        if key_id not in said:
            return f"the key {key_id} was introduced by no event of the log"
        event = said[key_id]
        if event.data.get("public") != row.key:
            return f"the key {key_id} was changed: it is not the one of event {event.pk}"
        if event.data.get("valid_from") != moment(row.valid_from):
            return (
                f"the beginning of the key {key_id} was changed: it says {moment(row.valid_from)}, "
                f"event {event.pk} says {event.data.get('valid_from')}"
            )
    gone = next((key_id for key_id in said if key_id not in rows), None)
    return f"the key {gone} of event {said[gone].pk} is not listed any more" if gone else ""


def _written(value: Any) -> str:
    return moment(value) if isinstance(value, datetime) else str(value)
