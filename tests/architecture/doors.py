"""Every URL and method, asked by everybody: what `permission_matrix.txt` says about who gets which answer."""

import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.conf import settings
from django.template.backends.django import Template
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django_structlog.middlewares import request as request_log

from tests.architecture.bodies import Bodies
from tests.architecture.principals import BY_ROLE_ALONE, PRINCIPALS, REST, TOKENS, Doors
from tests.architecture.questions import Gate
from tests.architecture.world import addresses

FILE = Path(__file__).with_name("permission_matrix.txt")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NOT_ALLOWED = "405"
PASSED = re.compile(r":(2..|302(?!!)|409|501)")
"""Somebody got past the question who may. A conflict with the state of a thing is told only to whoever may act."""
REFUSED = re.compile(r"(member|owner|deputy|reviewer|manager|security|auditor|administrator):40[34]")
HEARD = re.compile(r"(?<!anonymous):(302!|400|412|422|428)")
"""Somebody was heard, though with words that make no sense: it tells something where another was refused."""


def url_patterns(patterns: list[Any], namespace: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from url_patterns(pattern.url_patterns, inner)
        else:
            yield f"{namespace}{pattern.name or ''}", pattern


PATTERNS = dict(url_patterns(get_resolver().url_patterns))
VARIANTS = (
    "accounts:roles#powerful",
    "api:audit-pack-list#period",
    "api:item-decide-intake#return",
    "api:item-hand-over#unassigned",
    "api:trust-changes#since",
    "api:user-roles#powerful",
    "portal:register#address",
    "portal:registration#people",
    "portal:registration#systems",
    "portal:registration#secrets",
    "reviews:hand_over#unassigned",
    "reviews:unfinished#discard",
)
"""Doors behind which it depends on what is said there which act is meant: known by the name and what follows it."""
DOORS = PATTERNS | {name: PATTERNS[name.partition("#")[0]] for name in VARIANTS}


def path_of(name: str, known: dict[str, dict[str, Any]]) -> tuple[str, bool]:
    """The address, and whether it names a thing that somebody could have a stake in."""
    wanted = set(DOORS[name].pattern.regex.groupindex) | set(DOORS[name].pattern.converters)
    address = name.partition("#")[0]
    if not wanted:
        return reverse(address), False
    start = max((start for start in known if name.startswith(start)), key=len, default="")
    assert start and wanted <= set(known[start]), f"tests/architecture/world.py has nothing for {name} {sorted(wanted)}"
    return reverse(address, kwargs={key: known[start][key] for key in wanted}), True


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


class House:
    """A world, everybody in it, and every door to knock at. Nothing that happens behind one stays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        be_quick(monkeypatch)
        # Where everybody may read what is published, there would be nothing to ask.
        monkeypatch.setattr(settings, "PUBLISH_ANONYMOUS", False)
        monkeypatch.setattr(settings, "PACKS_DIR", str(folder / "packs"))
        monkeypatch.setattr(settings, "AUDIT_SIGNING_KEY_FILE", str(folder / "key.pem"))
        self.gate = Gate()
        self.gate.stand(monkeypatch)
        self._known = addresses()
        self._doors, self._bodies = Doors(self._known), Bodies(self._known)
        self._sent: dict[str, tuple[str, Any]] = {}

    def enter(self) -> None:
        """At the beginning of each test."""
        self._doors.forget_tokens()

    def knock(self, door: str, principal: str) -> str:
        """What `name method` answers. Afterwards `gate.asked` holds the questions on the way, in their order."""
        name, _, method = door.partition(" ")
        if door not in self._sent:
            path, _ = path_of(name, self._known)
            self._sent[door] = path, self._bodies.of(name, path, method)
        path, body = self._sent[door]
        self.gate.asked.clear()
        return self._doors.ask(principal, method, path, body, DOORS[name])

    def who(self, name: str) -> list[str]:
        path, names_thing = path_of(name, self._known)
        return [
            each
            for each in PRINCIPALS
            if (each not in TOKENS or path.startswith(REST)) and (names_thing or each not in BY_ROLE_ALONE)
        ]

    def everybody(self, of: Callable[[str], bool]) -> Iterator[tuple[str, str, str]]:
        """(door, principal, answer) of every door there is, of the URLs chosen by name."""
        for name in sorted(filter(of, DOORS)):
            # Whoever may do most is asked first: what there is no method for is not asked of the others.
            first = "token" if name.startswith("scim:") else "administrator"
            others = [each for each in self.who(name) if each != first]
            for door in (f"{name} {method}" for method in METHODS):
                if (answer := self.knock(door, first)) == NOT_ALLOWED:
                    continue
                yield door, first, answer
                for each in others:
                    yield door, each, self.knock(door, each)


@pytest.fixture(scope="module")
def house(kept: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield House(monkeypatch, tmp_path_factory.mktemp("house"))


def asked(house: House, of: Callable[[str], bool]) -> dict[str, str]:
    """`name method` → everybody's answers, in the order of `PRINCIPALS`."""
    found: dict[str, dict[str, str]] = {}
    for door, principal, answer in house.everybody(of):
        found.setdefault(door, {})[principal] = answer
    return {
        door: " ".join(f"{each}:{answers[each]}" for each in PRINCIPALS if each in answers)
        for door, answers in found.items()
    }


def check(found: dict[str, str], of: Callable[[str], bool], unproven: dict[str, str]) -> None:
    if os.environ.get("PERMISSION_MATRIX") == "write":
        write(found, of)
    known = written(of)
    wrong = [
        f"{door}\n  written: {known.get(door, '-')}\n  is now:  {found.get(door, '-')}"
        for door in sorted({*found, *known})
        if found.get(door) != known.get(door)
    ]
    assert not wrong, "\n".join(wrong)
    silent = {
        door
        for door, answers in found.items()
        if not (door.endswith(" GET") or PASSED.search(answers))
        and not (HEARD.search(answers) and REFUSED.search(answers))
    }
    assert silent == set(unproven), "nobody gets past these: give them a body in bodies.py, or a reason here"
