"""What of a look is believed: telling a change from noise, and a change that hides behind noise from both.

A difference is believed when the look after it shows one as well, or when the same was listed before; at once when it
may do more harm. Only the order of lists and of joined defaults may vary from look to look without being drift. What
comes and goes is drift too, and is said to flicker: then the listing that shows most stands until eight looks in a
row agree.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from registry.discovery.comparison import Difference, compare
from registry.discovery.models import Definitions, Snapshot, Watch
from registry.discovery.pointers import ORDER, leaves, stable_leaves, tree, unstable_path

STEADY = 8
"""After so many equal listings in a row, what flickered no longer does."""
WINDOW = 2 * STEADY
"""How far back a listing counts as one that was seen before."""
TURNS = 3
"""So many unexplained changes within `STEADY` listings are a flicker: there, gone, there again."""
MOST_UNSTABLE = 200
AT_ONCE = frozenset({"added_destructive", "claim_raised"})
"""Differences that wait for no second look."""

Stability = Watch.Stability


def believe(watch: Watch, before: Snapshot | None, snapshot: Snapshot) -> bool:
    """Move `settled`, `stability` and what varies on by one listing; the caller holds the watch and saves it.

    Returns whether another look is wanted soon.
    """
    now = snapshot.definitions
    assert now is not None
    known = watch.settled or watch.approved
    if known is None or before is None or before.definitions is None:
        watch.agreeing = 0
    else:
        _note_order(watch, known, before, snapshot)
        watch.agreeing = 0 if _differs(watch, before.definitions, now) else watch.agreeing + 1
    past = _listings_before(watch, snapshot)
    _note_stability(watch, [snapshot, *past])
    if known is None:
        watch.settled = now
        return True
    if not _differs(watch, known, now):
        watch.settled = watch.settled or now
        return before is None
    if not _believed(watch, known, past, now):
        return True
    watch.settled = now
    return before is None


def _listings_before(watch: Watch, snapshot: Snapshot) -> list[Snapshot]:
    """Newest first, at most `WINDOW`."""
    of_watch = Snapshot.objects.filter(
        server=watch.server_id, endpoint=watch.endpoint_id, identity=watch.identity, definitions__isnull=False
    ).exclude(pk=snapshot.pk)
    if watch.pushed:
        of_watch = of_watch.filter(by=watch.pusher_id).exclude(channel=Snapshot.Channel.PROBE)
    else:
        of_watch = of_watch.filter(channel=Snapshot.Channel.PROBE)
    past = list(of_watch.defer("posture", "signs").order_by("-id")[:WINDOW])
    # Mostly all of them listed the same, which may be megabytes: it is read once.
    listed = Definitions.objects.in_bulk({each.definitions_id for each in past})
    for each in past:
        each.definitions = listed[each.definitions_id]
    return past


def _differs(watch: Watch, before: Definitions, after: Definitions) -> bool:
    """Whether more than order differs, or a digest where nothing that is kept does: a secret that is blanked out."""
    if before.digest == after.digest:
        return False
    if before.typed:
        return bool(compare(before, after))
    return bool(stable_leaves(before, after, watch.unstable_paths)) or not any(leaves(tree(before), tree(after)))


def _note_order(watch: Watch, known: Definitions, before: Snapshot, snapshot: Snapshot) -> None:
    """Remember where only the order varied between two looks: after a first difference, or within one run."""
    last, now = before.definitions, snapshot.definitions
    assert last is not None and now is not None
    together = snapshot.run is not None and before.run == snapshot.run
    if last.digest == now.digest or not _same_release(before, snapshot):
        return
    if together or _differs(watch, known, last):
        paths = (unstable_path(leaf) for leaf in leaves(tree(last), tree(now)))
        known_paths = {*watch.unstable_paths, *(path for path in paths if path.endswith(ORDER))}
        watch.unstable_paths = sorted(known_paths)[:MOST_UNSTABLE]


def _same_release(before: Snapshot, after: Snapshot) -> bool:
    """Whether it says to be the same release. Its word proves no sameness, but a new number explains a change."""
    return before.server_info.get("version") == after.server_info.get("version")  # type: ignore[no-any-return]


def _note_stability(watch: Watch, listings: Sequence[Snapshot]) -> None:
    if _turns(watch, listings) >= TURNS or (watch.stability == Stability.FLICKERS and watch.agreeing < STEADY - 1):
        watch.stability = Stability.FLICKERS
    elif watch.unstable_paths:
        watch.stability = Stability.UNSTABLE
    elif watch.agreeing:
        watch.stability = Stability.STABLE


def _turns(watch: Watch, listings: Sequence[Snapshot]) -> int:
    """Changes within the newest `STEADY` listings that no release explains: going back to what was listed before, or
    leaving at once, under the same version, what was listed only once."""
    turns = 0
    for number, (after, before) in enumerate(pairwise(listings[:STEADY])):
        assert after.definitions is not None and before.definitions is not None
        if not _differs(watch, before.definitions, after.definitions):
            continue
        older = listings[number + 2 :]
        stood = older[0].definitions if older else None
        fleeting = stood is not None and _differs(watch, stood, before.definitions)
        goes_back = after.definitions_id in {each.definitions_id for each in older}
        turns += goes_back or (fleeting and _same_release(before, after))
    return turns


def _believed(watch: Watch, known: Definitions, past: Sequence[Snapshot], now: Definitions) -> bool:
    """Whether `now`, which differs from what is known, is taken for what the server lists."""
    if AT_ONCE & {each.rule for each in compare(known, now, watch.unstable_paths)}:
        return True
    approved, settled = watch.approved, watch.settled
    returns = approved is not None and not _differs(watch, approved, now)
    if watch.stability == Stability.FLICKERS and approved is not None and settled is not None:
        shown = _said(compare(approved, settled, watch.unstable_paths))
        if (returns or not watch.agreeing) and _said(compare(approved, now, watch.unstable_paths)) <= shown:
            return False  # It shows less than what stands; it would hide the rest.
    last = past[0].definitions if past else None
    if last is not None and _differs(watch, known, last):
        return True
    earlier = {each.definitions_id: each.definitions for each in past}
    return not returns and any(each is not None and not _differs(watch, each, now) for each in earlier.values())


def _said(differences: Iterable[Difference]) -> set[tuple[str, str, str]]:
    return {(each.kind, each.tool, each.rule) for each in differences}
