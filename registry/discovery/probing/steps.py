"""How a look tells what it is doing while it lasts."""

from collections.abc import Callable
from typing import Literal

StepOutcome = Literal["doing", "pass", "warn", "fail"]
Say = Callable[[str, StepOutcome], None]


def ignore(_said: str, _outcome: StepOutcome) -> None:
    """For whoever only wants the result."""
