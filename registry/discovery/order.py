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
    """Whether `release` certainly comes after `other`; a release that can be ordered comes after one that cannot."""
    mine, theirs = rank(release), rank(other)
    if mine is None:
        return False
    return theirs is None or mine > theirs
