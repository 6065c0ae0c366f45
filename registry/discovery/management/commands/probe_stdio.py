"""Start a server over stdio where it may run, look at what it lists twice, and hand that in.

The registry itself never starts a server. This runs on an operator's machine or in a CI job and pushes over REST:

    manage.py probe_stdio --server com.example/files --api https://steward.example.org --token-file t -- mcp-files /srv

Without a command, the package of the server's endpoint is started (`npx -y`, `uvx`); then `--api` or `--local` must say
where that is written down.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import httpx2
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from registry.catalog.models import Endpoint, Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import RegistryError
from registry.core.ids import new_id
from registry.core.inert import visible
from registry.discovery import services
from registry.discovery.comparison import compare
from registry.discovery.definitions import Normal, Unusable, normalise
from registry.discovery.formats.reading import claimed_class
from registry.discovery.models import Drift, DriftState, Snapshot, Watch
from registry.discovery.pointers import leaves, tree, unstable_path
from registry.discovery.seen import Seen
from registry.discovery.stdio import LIMIT, look_at

LOOKS = 2
STARTERS: Mapping[str, Sequence[str]] = {"npm": ("npx", "-y"), "pypi": ("uvx",)}
JOINERS: Mapping[str, str] = {"npm": "@", "pypi": "=="}


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--server", required=True, help="The server's name, for example com.example/files.")
        parser.add_argument("--api", default="", help="Base URL of the registry to push to.")
        parser.add_argument("--token-file", default="", help="File with an API token that has the scope write.")
        parser.add_argument("--local", action="store_true", help="Write into this installation's own database.")
        parser.add_argument("--dry-run", action="store_true", help="Print what was seen as JSON, hand in nothing.")
        parser.add_argument("--identity", default="anonymous", help="Under which identity and settings it runs.")
        parser.add_argument("--env", action="append", default=[], metavar="NAME", help="Pass this variable on to it.")
        parser.add_argument("--limit", type=float, default=LIMIT, help="Seconds for one look.")
        parser.add_argument("command", nargs="*", help="After --: how to start it.")

    def handle(self, *args: Any, **options: Any) -> None:
        desk = self._desk(options)
        command = list(options["command"]) or (desk.starts() if desk else [])
        if not command:
            raise CommandError("Say how to start it, after --.")
        environment = self._environment(options["env"])
        if environment and options["identity"] == "anonymous":
            raise CommandError("With --env its list may differ; name what it runs as with --identity.")
        looks: list[tuple[datetime, Seen]] = []
        for number in range(LOOKS):
            if number:
                # Two starts in the same second may share what a seed is made of.
                time.sleep(0.05)
            looks.append(
                (clock.now(), look_at(command, environment=environment, limit=options["limit"], errlog=sys.stderr))
            )
            if looks[-1][1].listing is None:
                break
        if options["dry_run"]:
            self.stdout.write(json.dumps(_as_json(looks), indent=2, ensure_ascii=False))
        else:
            self._table(looks)
        if desk is not None:
            run = new_id()
            for taken_at, seen in looks:
                standing = desk.hand_in(seen, taken_at, options["identity"], run)
            self._standing(standing)
        if looks[-1][1].listing is None:
            raise CommandError(f"{Snapshot.Outcome(looks[-1][1].outcome).label}. {looks[-1][1].detail}")

    def _desk(self, options: Mapping[str, Any]) -> "Desk | None":
        if options["dry_run"]:
            return None
        if options["local"]:
            return Local(options["server"])
        if options["api"] and options["token_file"]:
            return Remote(options["api"], options["token_file"], options["server"])
        raise CommandError("Say where to hand it in: --api with --token-file, --local, or --dry-run for nowhere.")

    def _environment(self, names: Sequence[str]) -> dict[str, str]:
        missing = [name for name in names if name not in os.environ]
        if missing:
            raise CommandError(f"Not set here: {', '.join(missing)}.")
        return {name: os.environ[name] for name in names}

    def _table(self, looks: Sequence[tuple[datetime, Seen]]) -> None:
        for number, (_taken, seen) in enumerate(looks, 1):
            what = f"{len(seen.listing.tools)} tools" if seen.listing else seen.detail
            outcome = Snapshot.Outcome(seen.outcome).label
            self.stdout.write(f"look {number}: {outcome}, {what}, {seen.era or 'no era'}, {seen.milliseconds} ms")
        normals = [_normal(seen) for _taken, seen in looks]
        first = next((each for each in normals if isinstance(each, Normal)), None)
        if first is None:
            return
        width = max((len(visible(name)) for name in first.tool_digests), default=4)
        for tool in first.tools:
            name = str(tool["name"])
            self.stdout.write(f"  {visible(name):<{width}}  {first.tool_digests[name][:12]}  {_claims(tool)}")
        for path in _varying(normals):
            self.stdout.write(self.style.WARNING(f"  differs between two looks: {visible(path)}"))

    def _standing(self, standing: Mapping[str, Any]) -> None:
        if standing["stability"] == Watch.Stability.FLICKERS:
            self.stdout.write(self.style.WARNING("it flickers: now it lists this, now that"))
        if standing["drift"]:
            self.stdout.write(self.style.WARNING(f"drift ({standing['severity']}):"))
            for sentence in standing["sentences"]:
                self.stdout.write(f"  {visible(sentence)}")
        elif standing["stability"] == Watch.Stability.UNSTABLE:
            self.stdout.write(self.style.WARNING("unstable definition: an order that varies does not count as drift"))
        elif not standing["confirmed"]:
            self.stdout.write("noted; a difference is believed when another look shows it again")
        else:
            self.stdout.write(self.style.SUCCESS("recorded"))


def _normal(seen: Seen) -> Normal | str:
    if seen.listing is None:
        return seen.detail
    try:
        return normalise(seen.listing)
    except Unusable as error:
        return str(error)


def _varying(normals: Sequence[Normal | str]) -> list[str]:
    listed = [each for each in normals if isinstance(each, Normal)]
    return [unstable_path(leaf) for leaf in leaves(tree(listed[0]), tree(listed[-1]))] if len(listed) > 1 else []


def _claims(tool: Mapping[str, Any]) -> str:
    return claimed_class(tool.get("annotations")) or "claims nothing"


def _as_json(looks: Sequence[tuple[datetime, Seen]]) -> dict[str, Any]:
    """What would be handed in, cleaned of secrets; the digests are of what was said."""
    said = []
    for taken_at, seen in looks:
        normal = _normal(seen)
        facts = {name: value for name, value in vars(seen).items() if name != "listing"}
        facts |= {"posture": list(seen.posture), "taken_at": taken_at.isoformat()}
        said.append({**facts, "definitions": vars(normal) if isinstance(normal, Normal) else None})
    normals = [_normal(seen) for _taken, seen in looks]
    listed = [each for each in normals if isinstance(each, Normal)]
    differences = [each.as_json() for each in compare(listed[0], listed[-1])] if len(listed) > 1 else []
    return {"looks": said, "stable": bool(listed) and not differences, "differences": differences}


# --- Where it is handed in -------------------------------------------------------------------------------


class Desk(Protocol):
    """A registry that takes looks in. `starts`: how its server's package is started, empty when it names none."""

    def starts(self) -> list[str]: ...
    def hand_in(self, seen: Seen, taken_at: datetime, identity: str, run: UUID) -> Mapping[str, Any]: ...


def _start(endpoint: Mapping[str, Any]) -> list[str]:
    registry, identifier = endpoint["package_registry"], endpoint["package_identifier"]
    if registry not in STARTERS or not identifier:
        return []
    version = endpoint["package_version"]
    return [*STARTERS[registry], f"{identifier}{JOINERS[registry]}{version}" if version else identifier]


class Local:
    """This installation's own database, written as the registry itself."""

    def __init__(self, name: str) -> None:
        try:
            server = Server.objects.filter(name=name).first()
        except DatabaseError as error:
            raise CommandError("The database does not answer.") from error
        if server is None:
            raise CommandError(f"No server is called {name}.")
        self.server = server
        fitting = list(server.endpoints.filter(retired_at=None, transport="stdio")[:2])
        self.endpoint: Endpoint | None = fitting[0] if len(fitting) == 1 else None

    def starts(self) -> list[str]:
        fields = ("package_registry", "package_identifier", "package_version")
        return _start({name: getattr(self.endpoint, name) for name in fields}) if self.endpoint else []

    def hand_in(self, seen: Seen, taken_at: datetime, identity: str, run: UUID) -> Mapping[str, Any]:
        try:
            snapshot = services.record_snapshot(
                actor=Actor.system("probe_stdio"),
                server=self.server,
                endpoint=self.endpoint,
                channel=Snapshot.Channel.COMMAND,
                seen=seen,
                identity=identity,
                run=run,
                taken_at=taken_at,
            )
        except RegistryError as error:
            raise CommandError(error.message) from error
        watch = Watch.objects.behind(snapshot).get()
        drift = Drift.objects.filter(watch=watch, state=DriftState.OPEN).first()
        return {
            "stability": watch.stability,
            "confirmed": watch.settled_id == snapshot.definitions_id,
            "drift": drift,
            "severity": drift.severity if drift else "",
            "sentences": [each["sentence"] for each in drift.differences] if drift else [],
        }


class Remote:
    """A registry over REST, with a token from a file, never from the command line."""

    def __init__(self, api: str, token_file: str, name: str) -> None:
        try:
            token = Path(token_file).read_text().strip()
        except OSError as error:
            raise CommandError(f"The token file cannot be read: {error.strerror}.") from error
        self.client = httpx2.Client(
            base_url=f"{api.rstrip('/')}/api/v1/",
            headers={"Authorization": f"Bearer {token}", "User-Agent": "steward-probe-stdio"},
            timeout=60,
        )
        found = self._call("GET", "servers", params={"q": name.replace("/", " ")})["results"]
        match = next((each for each in found if each["name"] == name), None)
        if match is None:
            raise CommandError(f"That registry knows no server called {name}, or does not show it to you.")
        self.server = self._call("GET", f"servers/{match['id']}")

    def starts(self) -> list[str]:
        current = [each for each in self.server["endpoints"] if not each["retired_at"] and each["transport"] == "stdio"]
        return _start(current[0]) if len(current) == 1 else []

    def hand_in(self, seen: Seen, taken_at: datetime, identity: str, run: UUID) -> Mapping[str, Any]:
        facts = {name: value for name, value in vars(seen).items() if name not in ("listing", "posture")}
        body = {
            **facts,
            "channel": Snapshot.Channel.COMMAND,
            "identity": identity,
            "run": str(run),
            "taken_at": taken_at.isoformat(),
            "listing": vars(seen.listing) if seen.listing else None,
        }
        standing: Mapping[str, Any] = self._call("POST", f"servers/{self.server['id']}/snapshots", json=body)[
            "standing"
        ]
        return standing

    def _call(self, method: str, path: str, **given: Any) -> Any:
        try:
            answered = self.client.request(method, path, **given)
        except httpx2.HTTPError as error:
            raise CommandError(f"The registry does not answer: {type(error).__name__}.") from error
        if answered.is_success:
            return answered.json()
        raise CommandError(f"The registry said {answered.status_code}: {_problem(answered)}")


def _problem(answered: httpx2.Response) -> str:
    """What a problem document says, fields included."""
    try:
        body = answered.json()
    except ValueError:
        return answered.reason_phrase
    fields = [f"{each['pointer']}: {each['detail']}" for each in body.get("errors", ())]
    return "; ".join([str(body.get("detail", "")), *fields])
