"""What a run of files amounts to before the database is asked: which entries apply, and which are settled already."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from registry.core.secrets import redact
from registry.discovery.entries import Configured, Entry
from registry.discovery.formats import Row
from registry.discovery.order import is_newer
from registry.discovery.states import EntryKind


@dataclass(frozen=True)
class File:
    """A document that was read: what it is called, and its rows."""

    name: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Planned:
    """An entry in its place. `settled` is its outcome where no act is needed; then `facts` is None.

    `said` are the reasons of a settled entry, else the reader's notes on it. The facts of a client's entry are a
    `Configured.sighting()`.
    """

    position: int
    file: str
    index: int
    name: str
    facts: dict[str, Any] | None
    settled: str
    said: list[str]
    kind: str = EntryKind.SERVER


def plan(files: Iterable[File]) -> Iterator[Planned]:
    """Entries in the order of the files. Of several for one server, only those that move it forward apply.

    So the newest wins, and the same files again end in the same catalog.
    """
    newest: dict[str, str] = {}
    places = ((redact(file.name)[:300], row) for file in files for row in file.rows)
    for position, (file, row) in enumerate(places):
        read = row.read
        if isinstance(read, Configured):
            yield Planned(position, file, row.index, read.name, read.sighting(), "", [], EntryKind.SIGHTING)
        elif not isinstance(read, Entry):
            settled = "skipped" if read.nothing_wrong else "refused"
            yield Planned(position, file, row.index, read.name, None, settled, read.reasons)
        elif read.name in newest and not is_newer(read.release, newest[read.name]):
            said = [_("this server is listed before in this import, and this entry is not newer")]
            yield Planned(position, file, row.index, read.name, None, "skipped", said)
        else:
            newest[read.name] = read.release
            yield Planned(position, file, row.index, read.name, read.facts(), "", read.notes)
