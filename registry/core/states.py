"""State machines as data: who may follow whom is a table, and one function refuses everything else."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from registry.core.errors import IllegalTransition


@dataclass(frozen=True)
class Machine:
    """`moves` maps each state to the states that may follow it; a state with no entry is final."""

    name: str
    moves: Mapping[str, Iterable[str]]

    def allows(self, before: str, after: str) -> bool:
        return after in self.moves.get(before, ())

    def check(self, before: str, after: str) -> None:
        """Raise `IllegalTransition` naming both states unless the table has the move."""
        if not self.allows(before, after):
            follow = ", ".join(self.moves.get(before, ()))
            article = "An" if self.name[0] in "aeiou" else "A"
            rest = f"only: {follow}" if follow else "it is final"
            raise IllegalTransition(f"{article} {self.name} that is {before} cannot become {after} ({rest}).")

    def move(self, thing: Any, after: str, *, field: str = "status") -> None:
        """Check and set `thing.<field>`; the caller holds the row lock and saves."""
        self.check(getattr(thing, field), after)
        setattr(thing, field, after)
