"""From several reviewers' answers to one outcome: a pure function, and the table the documentation is made of.

Strategy `one_deny_denies` (RECERTIFICATION section 3b): the most cautious answer wins. Never the last, never the
most lenient. A missing answer beside a given one does not count; no answer at all is NO_RESPONSE.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class Outcome(StrEnum):
    """In order of precedence."""

    REVOKE = "revoke"
    RETURN = "return"
    REDUCE = "certify_reduced"
    UNTIL = "certify_until"
    CERTIFY = "certify"
    NOT_DECIDED = "not_decided"
    NO_RESPONSE = "no_response"


PRECEDENCE = tuple(Outcome)


@dataclass(frozen=True)
class Answer:
    """What one reviewer said. `kept` belongs to REDUCE, `until` to UNTIL."""

    value: Outcome
    kept: frozenset[str] = frozenset()
    until: date | None = None


@dataclass(frozen=True)
class Resolution:
    value: Outcome
    kept: frozenset[str] = frozenset()
    until: date | None = None


def one_deny_denies(answers: Sequence[Answer]) -> Resolution:
    """The most cautious answer. Several reductions keep what all of them keep; nothing in common is a revocation.

    A time limit also binds a reduction: whoever limited the time certified nothing beyond it.
    """
    value = min((answer.value for answer in answers), key=PRECEDENCE.index, default=Outcome.NO_RESPONSE)
    if value is Outcome.REDUCE:
        kept = _kept(answers)
        return Resolution(Outcome.REDUCE, kept, _earliest(answers)) if kept else Resolution(Outcome.REVOKE)
    if value is Outcome.UNTIL:
        return Resolution(Outcome.UNTIL, until=_earliest(answers))
    return Resolution(value)


def _kept(answers: Iterable[Answer]) -> frozenset[str]:
    return frozenset.intersection(*(answer.kept for answer in answers if answer.value is Outcome.REDUCE))


def _earliest(answers: Iterable[Answer]) -> date | None:
    return min((answer.until for answer in answers if answer.until is not None), default=None)
