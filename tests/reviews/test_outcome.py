"""Outcome of several answers: every pair and triple under every strategy, against the rules as sentences."""

from datetime import date
from io import StringIO
from itertools import permutations, product
from pathlib import Path

import pytest
from django.core.management import call_command

from registry.catalog.models import Tier
from registry.reviews.outcome import (
    PRECEDENCE,
    Answer,
    Outcome,
    Resolution,
    Strategy,
    effective_strategy,
    most_cautious,
    resolve,
)

EARLY, LATE = date(2026, 12, 1), date(2027, 3, 1)
WAIT, SILENT = Answer(Outcome.WAIT), Answer(Outcome.NO_RESPONSE)
ANSWERS = [
    Answer(Outcome.REVOKE),
    Answer(Outcome.RETURN),
    Answer(Outcome.REDUCE, frozenset("ab")),
    Answer(Outcome.REDUCE, frozenset("bc")),
    Answer(Outcome.REDUCE, frozenset("c")),
    Answer(Outcome.UNTIL, until=EARLY),
    Answer(Outcome.UNTIL, until=LATE),
    Answer(Outcome.CERTIFY),
    Answer(Outcome.NOT_DECIDED),
    SILENT,
    WAIT,
]
# In every order: a strategy that must not care about it is caught when it does.
COMBINATIONS = [list(each) for size in (1, 2, 3) for each in product(ANSWERS, repeat=size)]
PLAIN = [Strategy.ONE_DENY_DENIES, Strategy.ALL_MUST_CERTIFY, Strategy.FIRST_VALID_DECIDES]
MEANS = {
    (Strategy.BY_TIER, Tier.CRITICAL): Strategy.ALL_MUST_CERTIFY,
    (Strategy.BY_TIER, Tier.HIGH): Strategy.ONE_DENY_DENIES,
    (Strategy.BY_TIER, Tier.MEDIUM): Strategy.ONE_DENY_DENIES,
    (Strategy.BY_TIER, Tier.LOW): Strategy.FIRST_VALID_DECIDES,
}


def decides(answer: Answer) -> bool:
    return answer.value not in (Outcome.NOT_DECIDED, Outcome.NO_RESPONSE, Outcome.WAIT)


def by_the_book(answers: list[Answer]) -> Resolution:
    """RECERTIFICATION section 3b in other words than the code's."""
    values = [answer.value for answer in answers]
    kept = [set(answer.kept) for answer in answers if answer.value == "certify_reduced"]
    limit = min((answer.until for answer in answers if answer.until), default=None)
    if "revoke" in values:
        return Resolution(Outcome.REVOKE)
    if "return" in values:
        return Resolution(Outcome.RETURN)
    if kept:
        common = set.intersection(*kept)
        return Resolution(Outcome.REDUCE, frozenset(common), limit) if common else Resolution(Outcome.REVOKE)
    for value in ("certify_until", "certify", "not_decided"):
        if value in values:
            return Resolution(Outcome(value), until=limit)
    return Resolution(Outcome.NO_RESPONSE)


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("strategy", Strategy)
def test_every_combination(strategy, tier):
    meant = MEANS.get((strategy, tier), strategy)
    for answers in COMBINATIONS:
        given = [answer for answer in answers if decides(answer)]
        found = resolve(strategy, tier, answers)
        told = f"{strategy} of {[answer.value.value for answer in answers]} gave {found}"
        if meant == Strategy.FIRST_VALID_DECIDES and given:
            assert found == by_the_book(given[:1]), told
        elif any(answer.value in ("revoke", "return") for answer in given):
            assert found == by_the_book(given), f"a denial waits for nobody and is never outvoted: {told}"
        elif WAIT in answers:
            assert found == Resolution(Outcome.WAIT), told
        elif meant == Strategy.ALL_MUST_CERTIFY and given and len(given) < len(answers):
            assert found == Resolution(Outcome.ESCALATE), f"all must certify: {told}"
        else:
            assert found == by_the_book(answers), told


def test_a_missing_answer_beside_a_certify():
    answers = [Answer(Outcome.CERTIFY), SILENT]
    assert resolve(Strategy.ONE_DENY_DENIES, Tier.MEDIUM, answers) == Resolution(Outcome.CERTIFY)
    assert resolve(Strategy.ALL_MUST_CERTIFY, Tier.MEDIUM, answers) == Resolution(Outcome.ESCALATE)
    assert resolve(Strategy.BY_TIER, Tier.CRITICAL, answers).asks_another
    assert not resolve(Strategy.BY_TIER, Tier.HIGH, answers).asks_another


@pytest.mark.parametrize("strategy", [Strategy.ONE_DENY_DENIES, Strategy.ALL_MUST_CERTIFY])
def test_neither_the_last_writer_nor_one_acceptance_wins(strategy):
    for answers in COMBINATIONS:
        found = {resolve(strategy, Tier.MEDIUM, list(order)) for order in permutations(answers)}
        assert len(found) == 1, answers
        if any(answer.value is Outcome.REVOKE for answer in answers):
            assert found == {Resolution(Outcome.REVOKE)}


@pytest.mark.parametrize("strategy", PLAIN)
def test_nothing_is_kept_that_nobody_certified(strategy):
    for answers in COMBINATIONS:
        found = resolve(strategy, Tier.MEDIUM, answers)
        if found.value in (Outcome.CERTIFY, Outcome.UNTIL, Outcome.REDUCE):
            assert any(decides(answer) for answer in answers)
            for answer in answers if strategy != Strategy.FIRST_VALID_DECIDES else []:
                assert not answer.kept or found.kept <= answer.kept, "a reduction binds"
                assert answer.until is None or (found.until is not None and found.until <= answer.until), "a date binds"


@pytest.mark.parametrize("strategy", Strategy)
def test_silence_keeps_nothing(strategy):
    for answers in ([], [SILENT], [SILENT, SILENT], [Answer(Outcome.NOT_DECIDED), SILENT]):
        assert resolve(strategy, Tier.LOW, answers).asks_another


def test_stages_come_to_the_most_cautious():
    narrow, narrower = Answer(Outcome.REDUCE, frozenset("abc")), Answer(Outcome.REDUCE, frozenset("bcd"), EARLY)
    assert most_cautious([narrow, narrower, Answer(Outcome.UNTIL, until=LATE)]) == Resolution(
        Outcome.REDUCE, frozenset("bc"), EARLY
    )
    assert most_cautious([Answer(Outcome.CERTIFY), Answer(Outcome.UNTIL, until=LATE)]).until == LATE
    assert most_cautious([]) == Resolution(Outcome.NO_RESPONSE)


def test_precedence_is_the_documented_one():
    assert [o.name for o in PRECEDENCE if o is not Outcome.RETURN] == [
        "REVOKE", "REDUCE", "UNTIL", "CERTIFY", "NOT_DECIDED", "NO_RESPONSE",
    ]  # fmt: skip


def test_strategies_other_than_by_tier_mean_the_same_for_every_tier():
    for strategy in PLAIN:
        assert {effective_strategy(strategy, tier) for tier in Tier} == {strategy}


def test_the_documentation_is_the_code():
    written = Path(__file__).parents[2] / "docs" / "outcomes.md"
    printed = StringIO()
    call_command("outcome_table", stdout=printed)
    assert written.read_text() == printed.getvalue(), "write it anew: manage.py outcome_table > docs/outcomes.md"
