from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class ImportQueued:
    """Subscribers start the work; beat's sweep starts it when nobody heard."""

    job_id: UUID


@dataclass(frozen=True)
class RegistryDue:
    """A followed registry is to be read now; beat's sweep reads it when nobody heard."""

    source_id: UUID


@dataclass(frozen=True)
class DriftFound:
    """A server lists something else than was approved; an upper room tells its owner."""

    drift_id: UUID


@dataclass(frozen=True)
class ProbeQueued:
    """Somebody waits for a look at a server; beat's sweep takes it up when nobody heard."""

    probe_id: UUID
