"""What reviews tells its own tasks, after commit."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class CampaignLaunched:
    campaign_id: UUID


@dataclass(frozen=True)
class ItemStuck:
    """Nobody independent is left for an item; its campaign's owner has to find somebody."""

    item_id: UUID


@dataclass(frozen=True)
class TriggerRaised:
    """Something calls for a review now. Says not what: whoever gathers takes all that wait."""


@dataclass(frozen=True)
class StageOpened:
    """A campaign is in its next stage; its items follow in the background."""

    campaign_id: UUID


@dataclass(frozen=True)
class ReviewsOpened:
    """A campaign has started, or is in its next stage: its reviewers are to be told. Says not which: all that wait."""


@dataclass(frozen=True)
class LettersWritten:
    """Mail waits to be sent."""


@dataclass(frozen=True)
class ActionsReleased:
    """A second person let go what the circuit breaker held back; the ladder carries it out."""

    campaign_id: UUID


@dataclass(frozen=True)
class ErrandWaiting:
    """A remediation was dispatched over a channel, which is to be asked."""

    remediation_id: UUID


@dataclass(frozen=True)
class DelegationStarted:
    """Somebody is away from now on, with more undecided reviews than could move at once."""


@dataclass(frozen=True)
class PackAsked:
    """An audit pack is to be made."""

    pack_id: UUID
