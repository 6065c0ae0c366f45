"""Who notices when one question is left out: `questions.txt`, a line per question of the product.

`question | door | principal: answer > answer without it` says that this door then opens (or says something else) to
this principal. `also without …` names others that would give the same answer before or after it: the two answers are
those without them, so that it shows what this one keeps shut alone. `question | - | reason` is one no door can tell.

The lines are checked one by one, which costs a request or two each. PERMISSION_MATRIX=write looks for them anew.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from tests.architecture.doors import House, written
from tests.architecture.principals import FULL, LATE, PRINCIPALS, TOKENS
from tests.architecture.questions import FILE, questions

NOBODY, UNEXPLAINED = "-", "?"
REFUSED = ("401", "403", "404")
STAKEHOLDERS = ("owner", "deputy", "reviewer", "manager")
MOST, FEW = 20, 3
"""Visits looked at for one question; whoever would notice is usually the first who was refused."""
CRASHED, WITHIN_GATES = "500", "core.independence."


@dataclass(frozen=True)
class Removal:
    question: str
    door: str
    principal: str = ""
    before: str = ""
    after: str = ""
    also: tuple[str, ...] = ()
    reason: str = ""

    @classmethod
    def read(cls, line: str) -> "Removal":
        question, door, rest, *also = line.split(" | ")
        if door == NOBODY:
            return cls(question, door, reason=rest)
        who, _, answers = rest.partition(": ")
        before, _, after = answers.partition(" > ")
        return cls(
            question, door, who, before, after, tuple(also[0].removeprefix("also without ").split(", ")) if also else ()
        )

    def __str__(self) -> str:
        if self.door == NOBODY:
            return f"{self.question} | {NOBODY} | {self.reason}"
        line = f"{self.question} | {self.door} | {self.principal}: {self.before} > {self.after}"
        return f"{line} | also without {', '.join(self.also)}" if self.also else line


@dataclass(frozen=True)
class Visit:
    door: str
    principal: str
    answer: str
    asked: tuple[str, ...]


def removals() -> dict[str, Removal]:
    lines = FILE.read_text().splitlines() if FILE.exists() else []
    return {each.question: each for each in map(Removal.read, lines)}


def check_written() -> None:
    """A new question has a line; one that was taken away leaves its line behind."""
    found = removals()
    assert set(found) == set(questions()), "run both halves with PERMISSION_MATRIX=write, and read the difference"
    assert [name for name, each in found.items() if each.reason == UNEXPLAINED] == []


def check_removals(house: House, of: Callable[[str], bool]) -> None:
    house.enter()
    if os.environ.get("PERMISSION_MATRIX") == "write":
        write(house, of)
    mine = [each for each in removals().values() if of(each.door.partition(" ")[0]) and each.door != NOBODY]
    assert len(mine) > 50
    answers = {door: dict(each.split(":") for each in line.split()) for door, line in written(of).items()}
    silent = []
    for each in mine:
        known = answers.get(each.door, {}).get(each.principal)
        before = known if each.principal in PRINCIPALS and not each.also else None
        if before is None:
            with house.gate.without(*each.also):
                before = house.knock(each.door, each.principal)
        with house.gate.without(each.question, *each.also):
            after = house.knock(each.door, each.principal)
        if (before, after) != (each.before, each.after):
            silent.append(f"{each} (now {before} > {after})")
    assert not silent, "\n".join(["without these, who notices?", *silent])


# --- Looking for them --------------------------------------------------------------------------------------


def write(house: House, of: Callable[[str], bool]) -> None:
    """Whoever notices, per question. Those of the other half stay; a question it has an answer for is left to it."""
    before, visits = removals(), list(_visits(house, of))
    by_question, refused_at = defaultdict(list), defaultdict(list)
    for visit in visits:
        for question in dict.fromkeys(visit.asked):
            by_question[question].append(visit)
        if visit.answer in REFUSED and visit.asked:
            refused_at[visit.door].append(visit)
    found: dict[str, Removal] = {}
    for question in questions():
        known = before.get(question)
        elsewhere = known is not None and known.door != NOBODY and not of(known.door.partition(" ")[0])
        if known is not None and elsewhere and not known.also:
            found[question] = known
            continue
        here = by_question[question]
        # What told it until now is asked first: it is cheap, and the file stays as it is where nothing changed.
        still = _still(house, known) if known is not None and not elsewhere else None
        made = still if still and not still.also else _alone(house, question, here) or still
        if made is None and not elsewhere:
            doors = dict.fromkeys(each.door for each in here)
            made = _together(house, question, [each for door in [*doors][:MOST] for each in refused_at[door][-FEW:]])
        reason = known.reason if known is not None and known.reason else UNEXPLAINED
        found[question] = made or (known if known and elsewhere else Removal(question, NOBODY, reason=reason))
    FILE.write_text("".join(f"{each}\n" for each in found.values()))


def _still(house: House, known: Removal) -> Removal | None:
    """The line that is there, with the answers of now; None when it tells nothing any more."""
    if known.door == NOBODY:
        return None
    with house.gate.without(*known.also):
        before = house.knock(known.door, known.principal)
    with house.gate.without(known.question, *known.also):
        after = house.knock(known.door, known.principal)
    return None if after in (before, CRASHED) else replace(known, before=before, after=after)


def _visits(house: House, of: Callable[[str], bool]) -> Iterator[Visit]:
    seen = set()
    for door, principal, answer in house.everybody(of):
        yield Visit(door, principal, answer, tuple(house.gate.asked))
        if door not in seen and not door.endswith(" GET"):
            seen.add(door)
            for each in (FULL + "owner", FULL + "reviewer"):
                yield Visit(door, each, house.knock(door, each), tuple(house.gate.asked))


def _alone(house: House, question: str, visits: list[Visit]) -> Removal | None:
    # Whom this question itself refused comes first; then whom something refused after it.
    ranked = sorted(
        visits,
        key=lambda each: (each.answer not in REFUSED, each.asked[-1] != question, each.principal.startswith(FULL)),
    )
    for visit in chain(ranked[:MOST], _special(house, question, visits)):
        with house.gate.without(question):
            after = house.knock(visit.door, visit.principal)
        if after not in (visit.answer, CRASHED):
            return Removal(question, visit.door, visit.principal, visit.answer, after)
    return None


def _special(house: House, question: str, visits: list[Visit]) -> Iterator[Visit]:
    """The same doors, by people who proved long ago who they are, or who have a stake and every role."""
    tried = set()
    if question.partition(" ")[2].startswith("require "):
        return  # roles and things are told apart by those of the matrix
    for visit in visits:
        people = [f"{FULL}{each}" for each in STAKEHOLDERS]
        if visit.principal not in (*TOKENS, "anonymous") and not visit.principal.startswith(FULL):
            people.append(f"{LATE}{visit.principal}")
        for each in people:
            if (visit.door, each) not in tried and len(tried) < 2 * MOST:
                tried.add((visit.door, each))
                yield Visit(visit.door, each, house.knock(visit.door, each), ())


def _together(house: House, question: str, refused: Iterable[Visit]) -> Removal | None:
    """With those that refuse the same person before or after it: left out one after the other, until this one tells."""
    for visit in refused:
        others: list[str] = []
        while len(others) < 6:
            with house.gate.without(*others):
                before = house.knock(visit.door, visit.principal)
            asked = list(house.gate.asked)
            if question in asked:
                with house.gate.without(question, *others):
                    after = house.knock(visit.door, visit.principal)
                if after not in (before, CRASHED):
                    return Removal(question, visit.door, visit.principal, before, after, tuple(others))
                asked += house.gate.asked
            # What a gate asks within itself is not another question.
            plain = [each for each in asked if each not in (question, *others) and not each.startswith(WITHIN_GATES)]
            if not plain:
                break
            others.append(plain[-1])
    return None
