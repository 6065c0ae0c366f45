"""Whatever remembers how long the log was, held against the log: nothing is signed that contradicts it.

A few look-ups: cheap enough for every signature and for `manage.py doctor`. TRUNCATE fires no trigger for rows; here it
shows, as long as anything remembers. `queries.verify_log` reads everything.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from registry.audit.log import last_batch
from registry.audit.models import Anchor, Batch, Checkpoint, Verification
from registry.audit.notes import BadNote, Note, split_notes
from registry.audit.notes import Checkpoint as Said

LONGEST_NOTE = 4096


class Forgotten(Exception):
    """What should remember does not any more; says what and where."""


@dataclass(frozen=True)
class Memory:
    tree_size: int
    root: str
    whose: str


def cut_off() -> str:
    """Whether the log still begins with what was signed, told and verified; empty when it does."""
    last = last_batch()
    size = last.tree_size if last else 0
    try:
        for each in _memories():
            if size < each.tree_size:
                return f"{each.whose} covers {each.tree_size} entries, the log has {size}: its end was cut off."
            if not Batch.objects.filter(tree_size=each.tree_size, root_hash=each.root).exists():
                return (
                    f"The first {each.tree_size} entries are not those that {each.whose[0].lower()}{each.whose[1:]} "
                    "covers: history was rewritten."
                )
    except Forgotten as what:
        return f"{what}."
    return ""


def _memories() -> Iterator[Memory]:
    newest = Checkpoint.objects.first()
    if newest is not None:
        yield _of(newest.note, "A checkpoint")
    for anchor in Anchor.objects.filter(told_number__gt=0):
        if newest is None or newest.number < anchor.told_number:
            raise Forgotten(f"The anchor ({anchor.kind}) was told checkpoint {anchor.told_number}, which is not there")
        yield _of(anchor.told_note, f"What the anchor ({anchor.kind}) was told")
    if settings.AUDIT_ANCHOR_FILE:
        if lost := lost_file():
            raise Forgotten(lost)
        if note := _last_note(Path(settings.AUDIT_ANCHOR_FILE)):
            yield _of(note, "The anchor file")
    verified = Verification.objects.filter(fault="", tree_size__gt=0).order_by("-tree_size").first()
    if verified is not None:
        yield Memory(verified.tree_size, verified.root_hash, f"The verification of {verified.at:%Y-%m-%d %H:%M}")


def lost_file() -> str:
    """Whether the anchor file is gone or ends before what it was told; empty when it is there.

    A file of another path is another anchor (see `services.anchoring`): this one was told nothing yet.
    """
    path = settings.AUDIT_ANCHOR_FILE
    anchor = Anchor.objects.filter(kind=Anchor.Kind.FILE, place=path, told_number__gt=0).first()
    if anchor is None:
        return ""
    told = _of(anchor.told_note, "What the anchor (file) was told")
    note = _last_note(Path(path))
    if not note:
        return f"The anchor file {path} is gone; it was told {told.tree_size} entries"
    if _of(note, "The anchor file").tree_size < told.tree_size:
        return f"The anchor file {path} ends before the checkpoint over {told.tree_size} entries that it was told"
    return ""


def _of(note: str, whose: str) -> Memory:
    try:
        said = Said.parse(Note.parse(note).text)
    except BadNote as error:
        raise Forgotten(f"{whose} is damaged: {error}") from None
    return Memory(said.tree_size, said.root.hex(), whose)


def _last_note(path: Path) -> str:
    """Without reading what comes before it; empty when there is no file or nothing in it."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LONGEST_NOTE))
            tail = file.read().decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise Forgotten(f"The anchor file cannot be read: {error}") from None
    return list(split_notes(tail))[-1] if tail.strip() else ""
