"""What was seen of a server, for whoever decides on it: drift that is open, signs in its definitions, what it says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from registry.discovery.models import Definitions, Drift, DriftState, Snapshot, Watch
from registry.discovery.signs import BY_KEY

WEIGHT = ("high", "medium")
"""Signs of these severities stand wherever somebody decides; the others on the page of the server."""


@dataclass(frozen=True)
class Signed:
    """One poisoning sign with its words; `where` and `excerpt` are a stranger's, shown through `visible`."""

    severity: str
    title: Any
    explanation: Any
    where: str
    excerpt: str

    @property
    def weighs(self) -> bool:
        return self.severity in WEIGHT


@dataclass(frozen=True)
class Observed:
    """`instructions`: as approved and as listed now, only when they differ; None otherwise."""

    drifts: list[Drift]
    signs: list[Signed]
    instructions: tuple[str, str] | None

    def __bool__(self) -> bool:
        return bool(self.drifts or self.signs or self.instructions)


def signed(snapshots: Iterable[Snapshot | None]) -> list[Signed]:
    """The signs of these looks, each once, worst first."""
    found: dict[tuple[str, str], Mapping[str, str]] = {}
    for snapshot in snapshots:
        for sign in snapshot.signs if snapshot else ():
            if sign["rule"] in BY_KEY:
                found.setdefault((sign["rule"], sign["where"]), sign)
    shown = [
        Signed(each["severity"], BY_KEY[each["rule"]].title, BY_KEY[each["rule"]].explanation, each["where"],
               each["excerpt"])
        for each in found.values()
    ]  # fmt: skip
    weight = {"high": 0, "medium": 1}
    return sorted(shown, key=lambda each: weight.get(each.severity, 2))


def observed(server_id: UUID) -> Observed:
    """Two queries. Whoever may read the server may read this."""
    watches = list(
        Watch.objects.filter(server=server_id, last_listed__isnull=False)
        .select_related("last_listed__definitions", "approved")
        .order_by("pushed", "id")
    )
    drifts = list(
        Drift.objects.filter(server=server_id, state=DriftState.OPEN)
        .select_related("watch__server", "watch__pusher")
        .order_by("-id")
    )
    signs = [each for each in signed(watch.last_listed for watch in watches) if each.weighs]
    return Observed(drifts, signs, _instructions(watches))


def _instructions(watches: Iterable[Watch]) -> tuple[str, str] | None:
    for watch in watches:
        now = watch.last_listed.definitions if watch.last_listed else None
        before = _said(watch.approved)
        if now is not None and now.instructions != before:
            return before, now.instructions
    return None


def _said(definitions: Definitions | None) -> str:
    return definitions.instructions if definitions else ""
