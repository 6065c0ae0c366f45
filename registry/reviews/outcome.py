"""From several reviewers' answers to one outcome: a pure function, and the table the documentation is made of.

RECERTIFICATION section 3b. Whatever the strategy, a denial is never outvoted and the order in which people answered
never matters, except where a strategy says that the first one decides.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from registry.catalog.models import Tier
from registry.reviews.models import TemplateStage

Strategy = TemplateStage.Strategy


class Outcome(StrEnum):
    """What one reviewer answered, or what follows from all of them; the answers in order of precedence."""

    REVOKE = "revoke"
    RETURN = "return"
    REDUCE = "certify_reduced"
    UNTIL = "certify_until"
    CERTIFY = "certify"
    NOT_DECIDED = "not_decided"
    NO_RESPONSE = "no_response"
    WAIT = "wait"
    """As an answer: somebody may still give one. As a resolution: it depends on what they say."""
    ESCALATE = "escalate"
    """Only a resolution: the answers do not suffice, somebody else has to be asked."""


PRECEDENCE = tuple(outcome for outcome in Outcome if outcome not in (Outcome.WAIT, Outcome.ESCALATE))
DENIALS = (Outcome.REVOKE, Outcome.RETURN)
KEEPS = (Outcome.REDUCE, Outcome.UNTIL, Outcome.CERTIFY)
VALID = (*DENIALS, *KEEPS)
"""Answers that decide something. Not to know, or not to answer, is none."""


@dataclass(frozen=True)
class Answer:
    """What one reviewer said. `kept` belongs to REDUCE, `until` to UNTIL."""

    value: Outcome
    kept: frozenset[str] = frozenset()
    until: date | None = None


@dataclass(frozen=True)
class Resolution(Answer):
    """What follows from the answers. A reduction may carry an `until` too: whoever limited the time meant all of it."""

    @property
    def asks_another(self) -> bool:
        """Nothing is kept by not knowing: somebody else has to be asked."""
        return self.value in (Outcome.NOT_DECIDED, Outcome.NO_RESPONSE, Outcome.ESCALATE)

    @property
    def is_denial(self) -> bool:
        return self.value in DENIALS


def effective_strategy(strategy: str, tier: str) -> str:
    """What `by_tier` means for an item of this tier; every other strategy is what it says."""
    if strategy != Strategy.BY_TIER:
        return strategy
    return {Tier.CRITICAL: Strategy.ALL_MUST_CERTIFY, Tier.LOW: Strategy.FIRST_VALID_DECIDES}.get(
        Tier(tier), Strategy.ONE_DENY_DENIES
    )


def resolve(strategy: str, tier: str, answers: Sequence[Answer]) -> Resolution:
    """The outcome of one stage. `answers` has one entry for each reviewer who was asked, in the order of signing.

    Whoever may still answer is WAIT, whoever did not in time is NO_RESPONSE.
    """
    valid = [answer for answer in answers if answer.value in VALID]
    strategy = effective_strategy(strategy, tier)
    if strategy == Strategy.FIRST_VALID_DECIDES and valid:
        return most_cautious(valid[:1])
    if denials := [answer for answer in valid if answer.value in DENIALS]:
        # Nothing that is still to come could weigh more.
        return most_cautious(denials)
    if any(answer.value is Outcome.WAIT for answer in answers):
        return Resolution(Outcome.WAIT)
    if strategy == Strategy.ALL_MUST_CERTIFY and 0 < len(valid) < len(answers):
        return Resolution(Outcome.ESCALATE)
    return most_cautious(answers)


def most_cautious(answers: Iterable[Answer]) -> Resolution:
    """The answer of highest precedence; silence is NO_RESPONSE. Also what several stages come to.

    Several reductions keep what all of them keep; nothing in common is a revocation. Several limits are the earliest,
    and a limit also binds a reduction.
    """
    given = list(answers)
    value = min((answer.value for answer in given), key=PRECEDENCE.index, default=Outcome.NO_RESPONSE)
    if value is Outcome.REDUCE:
        kept = frozenset.intersection(*(answer.kept for answer in given if answer.value is Outcome.REDUCE))
        return Resolution(Outcome.REDUCE, kept, _earliest(given)) if kept else Resolution(Outcome.REVOKE)
    if value is Outcome.UNTIL:
        return Resolution(Outcome.UNTIL, until=_earliest(given))
    return Resolution(value)


def _earliest(answers: Iterable[Answer]) -> date | None:
    return min((answer.until for answer in answers if answer.until is not None), default=None)
