"""`manage.py outcome_table > docs/outcomes.md`: what several answers come to, written by the code that decides it."""

from collections.abc import Iterator
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand

from registry.catalog.models import Tier
from registry.reviews.outcome import Answer, Outcome, Resolution, Strategy, effective_strategy, resolve

EARLIER, LATER = date(2027, 1, 31), date(2027, 3, 31)
ANSWERS = (
    ("revoke", Answer(Outcome.REVOKE)),
    ("reduce to A, B", Answer(Outcome.REDUCE, frozenset("AB"))),
    ("reduce to B, C", Answer(Outcome.REDUCE, frozenset("BC"))),
    ("reduce to C", Answer(Outcome.REDUCE, frozenset("C"))),
    ("certify until January", Answer(Outcome.UNTIL, until=EARLIER)),
    ("certify until March", Answer(Outcome.UNTIL, until=LATER)),
    ("certify", Answer(Outcome.CERTIFY)),
    ("not sure", Answer(Outcome.NOT_DECIDED)),
    ("no answer in time", Answer(Outcome.NO_RESPONSE)),
    ("may still answer", Answer(Outcome.WAIT)),
)
STRATEGIES = (Strategy.ONE_DENY_DENIES, Strategy.ALL_MUST_CERTIFY, Strategy.FIRST_VALID_DECIDES)
INTRODUCTION = """\
# What several answers come to

Written by `manage.py outcome_table`; a test compares it with the code. In order of precedence: revoke, reduce,
certify until, certify, not sure, no answer. Several reductions keep what all of them keep, and nothing in common is a
revocation; several dates are the earliest. Over the stages of a campaign the most cautious outcome wins, by the same
rules, and a revocation is final in the stage in which it is signed.

- **One denial denies**: the most cautious answer. A missing one beside it does not count.
- **All must certify**: the same, but a missing answer or a "not sure" beside it means that somebody else is asked.
- **First valid answer decides**: whoever signs first; the others need not answer any more. "Not sure" is no answer.

Under each strategy *ask another* means that the item goes to the next independent reviewer, and to the campaign's
owner when nobody is left. Nothing is kept by not knowing.
"""


class Command(BaseCommand):
    help = "Print the table of outcomes that docs/outcomes.md holds."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write("\n".join([INTRODUCTION, *by_tier_table(), "", *table()]))


def by_tier_table() -> Iterator[str]:
    yield "## By tier"
    yield ""
    yield "| Tier | Strategy |"
    yield "|---|---|"
    for tier in Tier:
        yield f"| {tier.value} | {Strategy(effective_strategy(Strategy.BY_TIER, tier)).label} |"


def table() -> Iterator[str]:
    """Every ordered pair of answers; one answer alone is the first rows."""
    yield "## One answer, and every pair"
    yield ""
    yield "| Signed first | Then | " + " | ".join(str(strategy.label) for strategy in STRATEGIES) + " |"
    yield "|---" * (2 + len(STRATEGIES)) + "|"
    for words, answer in ANSWERS:
        yield _row(words, "", [answer])
    for first_words, first in ANSWERS:
        for second_words, second in ANSWERS:
            yield _row(first_words, second_words, [first, second])


def _row(first: str, second: str, answers: list[Answer]) -> str:
    found = (_words(resolve(strategy, Tier.MEDIUM, answers)) for strategy in STRATEGIES)
    return f"| {first} | {second or 'nobody else is asked'} | " + " | ".join(found) + " |"


def _words(resolution: Resolution) -> str:
    """As in the left columns, so that a reader can compare."""
    if resolution.asks_another:
        return "*ask another*"
    if resolution.value is Outcome.WAIT:
        return "*wait*"
    words = {Outcome.UNTIL: "certify until", Outcome.REDUCE: "reduce to"}.get(
        resolution.value, resolution.value.replace("_", " ")
    )
    if resolution.kept:
        words += f" {', '.join(sorted(resolution.kept))}"
    if resolution.until:
        month = f"{resolution.until:%B}"
        words += f" {month}" if resolution.value is Outcome.UNTIL else f", until {month}"
    return words
