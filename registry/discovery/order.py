"""Which of two releases of one server is the newer one."""

import re

_SEMVER = re.compile(r"v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
Rank = tuple[int, int, int, int, tuple[tuple[int, int, str], ...]]


def rank(release: str) -> Rank | None:
    """Orders by semantic versioning 2.0.0; None for a release that is numbered otherwise, or not at all."""
    found = _SEMVER.fullmatch(release)
    if found is None:
        return None
    major, minor, patch, pre = found.groups()
    # A pre-release comes before its release; numeric parts before words.
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in (pre or "").split(".") if part)
    return int(major), int(minor), int(patch or 0), 0 if pre else 1, parts


def is_newer(release: str, other: str) -> bool:
    """Whether `release` certainly comes after `other`: both can be ordered, and it is the greater one."""
    mine, theirs = rank(release), rank(other)
    return mine is not None and theirs is not None and mine > theirs


def is_behind(release: str, known: str) -> bool:
    """Whether `release` may not replace `known`: it is older, or it has no order where `known` has one.

    So two sources that number one server differently do not replace each other's entry for ever.
    """
    return rank(known) is not None and (rank(release) is None or is_newer(known, release))
