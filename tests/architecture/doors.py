"""Every URL and method, asked by everybody: what `permission_matrix.txt` says about who gets which answer."""

import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.template.backends.django import Template
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django_structlog.middlewares import request as request_log

from tests.architecture.bodies import Bodies
from tests.architecture.principals import BY_ROLE_ALONE, PRINCIPALS, REST, TOKENS, Doors
from tests.architecture.world import addresses

FILE = Path(__file__).with_name("permission_matrix.txt")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NOT_ALLOWED = 405
PASSED = re.compile(r":(2..|409|501)")
"""Somebody got past the question who may. A conflict with the state of a thing is told only to whoever may act."""
REFUSED = re.compile(r"(member|owner|deputy|reviewer|manager|security|auditor|administrator):40[34]")
HEARD = re.compile(r"(?<!anonymous):(302|400|412|422|428)")
"""Somebody was heard, though with words that make no sense: it tells something where another was refused."""


def url_patterns(patterns: list[Any], namespace: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from url_patterns(pattern.url_patterns, inner)
        else:
            yield f"{namespace}{pattern.name or ''}", pattern


PATTERNS = dict(url_patterns(get_resolver().url_patterns))


def path_of(name: str, known: dict[str, dict[str, Any]]) -> tuple[str, bool]:
    """The address, and whether it names a thing that somebody could have a stake in."""
    wanted = set(PATTERNS[name].pattern.regex.groupindex) | set(PATTERNS[name].pattern.converters)
    if not wanted:
        return reverse(name), False
    start = max((start for start in known if name.startswith(start)), key=len, default="")
    assert start and wanted <= set(known[start]), f"tests/architecture/world.py has nothing for {name} {sorted(wanted)}"
    return reverse(name, kwargs={key: known[start][key] for key in wanted}), True


def written(of: Callable[[str], bool]) -> dict[str, str]:
    lines = (line.split(None, 2) for line in FILE.read_text().splitlines() if line and not line.startswith("#"))
    return {f"{name} {method}": answers for name, method, answers in lines if of(name)}


def write(found: dict[str, str], of: Callable[[str], bool]) -> None:
    kept = written(lambda name: not of(name))
    lines = [f"{door} {answers}" for door, answers in sorted((kept | found).items())]
    FILE.write_text("\n".join(lines) + "\n")


def be_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may is settled before a page is drawn or a line is logged, and thousands of those would take minutes."""
    monkeypatch.setattr(Template, "render", lambda *args, **kwargs: "")
    silent = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    monkeypatch.setattr(request_log, "logger", silent)
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)


def asked(of: Callable[[str], bool]) -> dict[str, str]:
    """`name method` → everybody's answers, of the URLs chosen by name."""
    known = addresses()
    doors = Doors(known)
    bodies = Bodies(known)
    found = {}
    for name in sorted(filter(of, PATTERNS)):
        path, names_thing = path_of(name, known)
        who = [
            each
            for each in PRINCIPALS
            if (each not in TOKENS or path.startswith(REST)) and (names_thing or each not in BY_ROLE_ALONE)
        ]
        # Whoever may do most is asked first: what there is no method for is not asked of the others.
        first = "token" if name.startswith("scim:") else "administrator"
        for method in METHODS:
            body = bodies.of(name, path, method)
            answers = {first: doors.ask(first, method, path, body, PATTERNS[name])}
            if answers[first] == NOT_ALLOWED:
                continue
            answers |= {each: doors.ask(each, method, path, body, PATTERNS[name]) for each in who if each != first}
            found[f"{name} {method}"] = " ".join(f"{each}:{answers[each]}" for each in who)
    return found


def check(found: dict[str, str], of: Callable[[str], bool], unproven: dict[str, str]) -> None:
    if os.environ.get("PERMISSION_MATRIX") == "write":
        write(found, of)
    assert found == written(of)
    silent = {
        door
        for door, answers in found.items()
        if not (door.endswith(" GET") or PASSED.search(answers))
        and not (HEARD.search(answers) and REFUSED.search(answers))
    }
    assert silent == set(unproven), "nobody gets past these: give them a body in bodies.py, or a reason here"
