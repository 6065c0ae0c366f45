"""Limits as an operator writes them: `api=600/m,write=120/m`. Read with the settings, so it asks nothing of Django."""

import re

SECONDS = {"s": 1, "m": 60, "h": 3600}


def read_limits(*texts: str) -> dict[str, tuple[int, int]]:
    """Name → (calls, seconds); what comes later counts. `0` or `off` lifts a limit. Raises `ValueError`."""
    found: dict[str, tuple[int, int]] = {}
    known: set[str] = set()
    for text in texts:
        for entry in filter(None, (each.strip() for each in text.split(","))):
            name, _, said = entry.partition("=")
            if known and text is not texts[0] and name not in known:
                raise ValueError(f"{name!r} is none of {', '.join(sorted(known))}")
            if said in ("0", "off"):
                found.pop(name, None)
                continue
            match = re.fullmatch(r"([1-9]\d{0,8})/(\d{0,4})([smh])", said)
            if match is None:
                raise ValueError(f"{entry!r} is not a number of calls per s, m or h")
            found[name] = (int(match[1]), int(match[2] or 1) * SECONDS[match[3]])
        known = known or set(found)
    return found
