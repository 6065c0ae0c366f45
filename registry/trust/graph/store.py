"""The graph at present and at past instants, kept in this process and exact to the last commit.

A kept state remembers the database snapshot it was read under. Each question first asks, in one small statement,
which changes that snapshot did not show: by transaction, so that one that began earlier and committed later is found.
Only the things those changes name are read again. What the current transaction itself wrote and did not commit goes
into a copy that is thrown away with the answer, so nothing uncommitted is ever kept.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b
from threading import Lock
from uuid import UUID

import psycopg
from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from registry.trust.graph import loading
from registry.trust.graph.loading import SOURCES, Reader
from registry.trust.graph.snapshot import Raw, Snapshot, View, micros

PAST = 4
"""So many past instants are kept."""
_ANEW = 100_000
"""After more changes than this, everything is read again."""

_UNSEEN = """
    xid >= pg_snapshot_xmin(%(seen)s::pg_snapshot) AND NOT pg_visible_in_snapshot(xid, %(seen)s::pg_snapshot)
    AND (xid < pg_snapshot_xmax(pg_current_snapshot()) OR xid = pg_current_xact_id_if_assigned())
"""
"""Changes that `seen` does not show. Numbers of transactions that are yet to come stem from a restored copy."""


@dataclass(frozen=True)
class Mark:
    """Where a state stands: the last change it shows, and how many there were in all."""

    number: int
    xid: str
    count: int

    @property
    def version(self) -> str:
        """Changes are only ever added, so the count tells states of one history apart."""
        return blake2b(f"{self.number} {self.xid} {self.count}".encode(), digest_size=9).hexdigest()


@dataclass(frozen=True)
class State:
    """A snapshot and what it was read under."""

    snapshot: Snapshot
    seen: str
    mark: Mark
    own: str = ""
    """Not empty for what holds changes of a transaction that is still open."""
    _views: dict[int, View] = field(default_factory=dict, repr=False, compare=False)

    @property
    def version(self) -> str:
        """Short and opaque; the same for the same data in every process."""
        return f"{self.mark.version}{self.own}"

    def view(self, at: int) -> tuple[View, int]:
        """What is in force at `at`, and the epoch: between two boundaries the view stays the same."""
        epoch = self.snapshot.epoch(at)
        kept = self._views.get(epoch)
        if kept is None:
            kept = View(self.snapshot, at)
            self._views.clear()
            self._views[epoch] = kept
        return kept, epoch


_NOTHING = State(loading.empty(), "1:1:", Mark(0, "", 0))
_lock = Lock()
_present: dict[tuple[str, ...], State] = {}
_past: OrderedDict[tuple[str, ...], State] = OrderedDict()


def present() -> State:
    """The state that the current transaction sees."""
    return _current(_key())


def at(instant: datetime) -> State:
    """How things stood at a past instant."""
    key = (*_key(), str(micros(instant)))
    kept = _past.get(key)
    if kept is None:
        kept = _build_past(key, instant)
    unseen = _unseen(kept, until=instant)
    if unseen is None or unseen.others:
        kept = _build_past(key, instant)
        unseen = _unseen(kept, until=instant)
    if unseen is not None and unseen.wrote:
        return _with_own_past(instant)
    with _lock:
        if key in _past:
            _past.move_to_end(key)
    # The state is of then, names are of now: so the version moves with either.
    return replace(kept, mark=replace(kept.mark, count=unseen.last if unseen else 0))


def changed_between(kind: str, since: datetime, until: datetime) -> Raw:
    """Ids of things of a kind that changed after `since` and up to `until`; some more than once."""
    with _reader(connection) as reader:
        return reader.ids(
            "SELECT thing_id AS id FROM catalog_change WHERE kind = %(kind)s AND at > %(since)s AND at <= %(until)s",
            {"kind": kind, "since": since, "until": until},
        )


def forget() -> None:
    """Drop everything kept; the next question reads anew."""
    with _lock:
        _present.clear()
        _past.clear()


def _key() -> tuple[str, ...]:
    settings = connection.settings_dict
    return (str(settings["HOST"]), str(settings["PORT"]), str(settings["NAME"]))


# --- What changed ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Unseen:
    """Whether others committed something, and what the current transaction wrote itself."""

    others: bool
    own: Mapping[str, list[UUID]]
    wrote: int
    xid: str
    last: int
    """The number of the last change there is."""


def _unseen(kept: State, *, until: datetime | None = None) -> _Unseen | None:
    """What `kept` does not show (up to an instant), or None when it shows what is no longer there (TRUNCATE)."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT pg_current_xact_id_if_assigned()::text,
                   %(number)s = 0 OR EXISTS (
                       SELECT 1 FROM catalog_change WHERE number = %(number)s AND xid::text = %(xid)s),
                   ARRAY(SELECT DISTINCT kind || ' ' || thing_id FROM catalog_change
                         WHERE {_UNSEEN} AND xid = pg_current_xact_id_if_assigned()),
                   (SELECT count(*) FROM catalog_change WHERE {_UNSEEN} AND xid = pg_current_xact_id_if_assigned()),
                   EXISTS (SELECT 1 FROM catalog_change
                           WHERE {_UNSEEN} AND xid IS DISTINCT FROM pg_current_xact_id_if_assigned()
                             AND (%(until)s::timestamptz IS NULL OR at <= %(until)s)),
                   (SELECT coalesce(max(number), 0) FROM catalog_change)
            """,  # noqa: S608 - our own words
            {"seen": kept.seen, "number": kept.mark.number, "xid": kept.mark.xid, "until": until},
        )
        xid, still_there, own, wrote, others, last = cursor.fetchone()
    if not still_there:
        return None
    return _Unseen(others, _by_kind(own), wrote, xid or "", last)


def _by_kind(words: list[str]) -> dict[str, list[UUID]]:
    found: dict[str, list[UUID]] = {}
    for word in words:
        kind, id = word.split(" ")
        found.setdefault(kind, []).append(UUID(id))
    return found


# --- The present -----------------------------------------------------------------------------------------


def _current(key: tuple[str, ...]) -> State:
    kept = _present.get(key)
    unseen = _unseen(kept) if kept else None
    if kept is None or unseen is None or unseen.others:
        kept = _refresh(key)
        unseen = _unseen(kept)
    if unseen is None or not unseen.wrote:
        return kept
    with _reader(connection) as reader:
        return _with_own(reader, kept, unseen)


def _with_own(reader: Reader, kept: State, unseen: _Unseen) -> State:
    """A copy with what the current transaction wrote. Nobody else can change those rows before it ends."""
    own = {kind: ids for kind, ids in unseen.own.items() if kind in SOURCES}
    snapshot = loading.read(reader, kept.snapshot, loading.some(own)) if own else kept.snapshot
    return State(snapshot, kept.seen, kept.mark, f"-{unseen.xid}-{unseen.wrote}")


def _refresh(key: tuple[str, ...]) -> State:
    """Read what was committed since, under one database snapshot."""
    with _lock, _frozen() as (database, seen):
        return _bring_up(key, database, seen)


def _bring_up(key: tuple[str, ...], database: BaseDatabaseWrapper, seen: str) -> State:
    kept = _present.get(key, _NOTHING)
    with _reader(database) as reader:
        number, xid, count, changed = _changed(database, kept)
        if changed is None or kept is _NOTHING:
            snapshot = loading.read(reader, loading.empty(), loading.whole())
        else:
            snapshot = kept.snapshot
            tracked = {kind: ids for kind, ids in changed.items() if kind in SOURCES}
            if tracked:
                snapshot = loading.read(reader, snapshot, loading.some(tracked))
    fresh = State(snapshot, seen, Mark(number, xid, count))
    _present[key] = fresh
    return fresh


def _changed(database: BaseDatabaseWrapper, kept: State) -> tuple[int, str, int, dict[str, list[UUID]] | None]:
    """The last change, how many there are, and which things changed since `kept`; None for too many, or a TRUNCATE."""
    with database.cursor() as cursor:
        if kept is not _NOTHING:
            cursor.execute(
                f"""
                SELECT count(*), coalesce(array_agg(DISTINCT kind || ' ' || thing_id), '{{}}'),
                       EXISTS (SELECT 1 FROM catalog_change WHERE number = %(number)s AND xid::text = %(xid)s)
                FROM (SELECT kind, thing_id FROM catalog_change WHERE {_UNSEEN} LIMIT {_ANEW}) unseen
                """,  # noqa: S608 - our own words
                {"seen": kept.seen, "number": kept.mark.number, "xid": kept.mark.xid},
            )
            more, words, still_there = cursor.fetchone()
            if more < _ANEW and still_there:
                cursor.execute("SELECT number, xid::text FROM catalog_change ORDER BY number DESC LIMIT 1")
                number, xid = cursor.fetchone()
                return number, xid, kept.mark.count + more, _by_kind(words)
        cursor.execute("SELECT number, xid::text FROM catalog_change ORDER BY number DESC LIMIT 1")
        number, xid = cursor.fetchone() or (0, "")
        cursor.execute("SELECT count(*) FROM catalog_change")
        return number, xid, cursor.fetchone()[0], None


# --- The past --------------------------------------------------------------------------------------------


def _build_past(key: tuple[str, ...], instant: datetime) -> State:
    """The present with what changed after `instant` laid back, kept for the next who asks."""
    with _lock, _frozen() as (database, seen):
        now = _bring_up(key[:-1], database, seen)
        with _reader(database) as reader:
            past = State(_undone(reader, now.snapshot, instant), seen, now.mark)
        _past[key] = past
        while len(_past) > PAST:
            _past.popitem(last=False)
        return past


def _with_own_past(instant: datetime) -> State:
    now = present()
    with _reader(connection) as reader:
        return State(_undone(reader, now.snapshot, instant), now.seen, now.mark, now.own)


def _undone(reader: Reader, snapshot: Snapshot, instant: datetime) -> Snapshot:
    return loading.read(reader, snapshot, loading.before(reader, instant))


# --- Connections -----------------------------------------------------------------------------------------


@contextmanager
def _frozen() -> Iterator[tuple[BaseDatabaseWrapper, str]]:
    """A connection that sees only what is committed now, and as what; one of its own inside a transaction."""
    if not connection.in_atomic_block:
        with _one_snapshot(connection) as seen:
            yield connection, seen
        return
    database = connection.copy()
    try:
        with _one_snapshot(database) as seen:
            yield database, seen
    finally:
        database.close()


@contextmanager
def _one_snapshot(database: BaseDatabaseWrapper) -> Iterator[str]:
    database.ensure_connection()
    with _atomic(database), database.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute("SELECT pg_current_snapshot()::text")
        yield cursor.fetchone()[0]


@contextmanager
def _atomic(database: BaseDatabaseWrapper) -> Iterator[None]:
    """`transaction.atomic`, also for a connection that is not among the configured ones."""
    if database is connection:
        with transaction.atomic():
            yield
        return
    database.set_autocommit(False)
    try:
        yield
    finally:
        database.rollback()


@contextmanager
def _reader(database: BaseDatabaseWrapper) -> Iterator[Reader]:
    database.ensure_connection()
    # A cursor of psycopg itself: those of Django bind in the client and cannot hand over bytes as they are.
    with psycopg.Cursor(database.connection) as cursor:
        yield Reader(cursor)
        # libpq leaves the row by row reading of a stream with its next statement, unless that one is in a pipeline.
        cursor.execute("SELECT 1")
