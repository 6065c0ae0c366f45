"""Outcome of several answers: every combination, against the rules as sentences (RECERTIFICATION section 3b)."""

from datetime import date
from itertools import combinations_with_replacement, permutations

import pytest

from registry.reviews.outcome import PRECEDENCE, Answer, Outcome, Resolution, one_deny_denies

EARLY, LATE = date(2026, 12, 1), date(2027, 3, 1)
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
    Answer(Outcome.NO_RESPONSE),
]
COMBINATIONS = [each for size in (1, 2, 3) for each in combinations_with_replacement(ANSWERS, size)]


@pytest.mark.parametrize("answers", COMBINATIONS, ids=lambda answers: "+".join(a.value for a in answers))
def test_every_combination(answers):
    values = {answer.value for answer in answers}
    found = one_deny_denies(answers)
    reductions = [answer.kept for answer in answers if answer.value is Outcome.REDUCE]
    limits = [answer.until for answer in answers if answer.until is not None]
    if Outcome.REVOKE in values:
        assert found == Resolution(Outcome.REVOKE)
    elif Outcome.RETURN in values:
        assert found == Resolution(Outcome.RETURN)
    elif reductions:
        common = frozenset.intersection(*reductions)
        if common:
            assert found == Resolution(Outcome.REDUCE, common, min(limits, default=None))
        else:
            assert found == Resolution(Outcome.REVOKE), "nothing in common is nothing kept"
    elif limits:
        assert found == Resolution(Outcome.UNTIL, until=min(limits))
    elif Outcome.CERTIFY in values:
        assert found == Resolution(Outcome.CERTIFY), "a missing answer beside a CERTIFY gives CERTIFY"
    elif Outcome.NOT_DECIDED in values:
        assert found == Resolution(Outcome.NOT_DECIDED)
    else:
        assert found == Resolution(Outcome.NO_RESPONSE)


@pytest.mark.parametrize(
    "answers", [c for c in COMBINATIONS if len(c) == 3], ids=lambda a: "+".join(x.value for x in a)
)
def test_the_order_of_answers_does_not_matter(answers):
    assert len({one_deny_denies(list(order)) for order in permutations(answers)}) == 1


def test_silence_is_no_response():
    assert one_deny_denies([]) == Resolution(Outcome.NO_RESPONSE)


def test_precedence_is_the_documented_one():
    assert [o.name for o in PRECEDENCE if o is not Outcome.RETURN] == [
        "REVOKE", "REDUCE", "UNTIL", "CERTIFY", "NOT_DECIDED", "NO_RESPONSE",
    ]  # fmt: skip
