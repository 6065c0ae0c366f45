"""Which files of a pack show something about which control: data in `controls.json`, ids as their documents have them.

A control of which the pack holds no rows is listed as "no data": that never counts as a pass.
One that the pack itself speaks against is listed as "conflicts".
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

COLUMNS = ("framework", "version", "control", "title", "state", "shows", "files")


@cache
def _listed() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((Path(__file__).parent / "controls.json").read_text())
    return found


def control_rows(statistics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`needs` names the count that must not be zero for the files to show anything, `against` those that must be."""
    rows = []
    for each in _listed():
        needs = each["needs"]
        count = sum(statistics[needs].values()) if needs == "remediations" else statistics[needs] if needs else 1
        state = "evidence" if count else "no data"
        if any(statistics[name] for name in each.get("against", ())):
            state = "conflicts"
        rows.append({**each, "state": state})
    return rows
