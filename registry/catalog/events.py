"""What the catalog tells upper rooms, after commit."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class ServerChanged:
    """A fact of the server that tier, fingerprint or picture may depend on."""

    server_id: UUID


@dataclass(frozen=True)
class ServerSubmitted:
    """A registration waits for an independent reviewer."""

    server_id: UUID


@dataclass(frozen=True)
class ServerWithdrawn:
    """The registrant took a submitted registration back, or retired it."""

    server_id: UUID


@dataclass(frozen=True)
class ServerRetired:
    server_id: UUID


@dataclass(frozen=True)
class AgentChanged:
    agent_id: UUID


@dataclass(frozen=True)
class SystemChanged:
    system_id: UUID


@dataclass(frozen=True)
class TierChanged:
    """The tier that counts is another one, computed or set by a person."""

    server_id: UUID
    before: str
    after: str


@dataclass(frozen=True)
class CertificationsChanged:
    """Some certificates began or ended. Names none: a sign-off may move a hundred thousand at once."""


@dataclass(frozen=True)
class VisibilityChanged:
    """Some things are seen by fewer or more people than before. Names none: a rule may hide a hundred thousand."""


@dataclass(frozen=True)
class SuccessionProposed:
    """Somebody is asked whether they take over what was another's."""

    former_owner_id: UUID
    successor_id: UUID


@dataclass(frozen=True)
class OwnerChanged:
    """Something whose owner had left has an owner again."""

    kind: str
    thing_id: UUID
