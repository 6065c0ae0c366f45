"""What live looks, configurations, secret stores and another registry said: told, for the demo never uses the network.

Every look says so where it says what it saw. What is told goes through the acts that real looks go through.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx2
from django.utils.translation import gettext as _

from registry.catalog.models import SecretSource, Server
from registry.catalog.states import Lifecycle
from registry.core import clock, ids
from registry.core.outbound import Answer
from registry.discovery import services as discovery
from registry.discovery.entries import Configured
from registry.discovery.formats import read_document
from registry.discovery.models import Shadow, Snapshot
from registry.discovery.plan import File
from registry.discovery.probing.steps import Say
from registry.discovery.publications import OFFICIAL
from registry.discovery.seen import Listing, Seen
from registry.discovery.states import ShadowState
from registry.discovery.stores import Looked
from registry.portal.demo.reading import read
from registry.portal.demo.timeline import acting

if TYPE_CHECKING:
    from registry.portal.demo.story import Story

Outcome = Snapshot.Outcome
TOLD = "Told by the demo data; nobody asked."
ERA = "2025-11-25"
AFRESH = 0.02
"""Days ago of the last looks: late enough that the clock does not ask for others during a first visit."""
HINTS = {
    "read": {"readOnlyHint": True},
    "write": {"readOnlyHint": False, "destructiveHint": False},
    "destructive": {"readOnlyHint": False, "destructiveHint": True},
    "execute": {"readOnlyHint": False, "destructiveHint": True},
}
PROTECTED = (
    ("https", "Asked over https with a valid certificate."),
    ("asks_for_token", "A bare request is answered with 401."),
    ("challenge", "Its challenge names the metadata document."),
    ("bogus_token", "A token nobody issued is answered with 401."),
)


class Discovered:
    """Plans what is discovered into the timeline of a story."""

    def __init__(self, story: "Story") -> None:
        self._story = story
        self._looks, self._clients = read("looks"), read("clients")
        self._plans = {plan["key"]: plan for plan in story.plans}

    def plan(self) -> None:
        plan = self._story.timeline.plan
        for key, said in self._looks["packages"].items():
            day = self._registered(key)
            plan(day - 0.5, self.start, key, self._plans[key]["release"], said, left_to_sweeps=True)
            if later := said.get("later"):
                plan(later["days"], self.start, key, later["version"], said | {"tools": said["tools"] | later["tools"]})
        for key, said in self._looks["remote"].items():
            if "tools" in said:
                # The second look is what makes a listing believed.
                plan(self._registered(key) - 0.5, self.probe, key, said, left_to_sweeps=True)
                plan(self._registered(key) - 0.6, self.probe, key, said, left_to_sweeps=True)
            plan(AFRESH, self.probe, key, said, left_to_sweeps=True)
        self._plan_secrets()
        self._plan_sightings()
        source = self._looks["registry"]
        plan(source["walks"][0]["days"], self.follow, source, left_to_sweeps=True)
        plan(source["walks"][1]["days"], self.follow_on, source, left_to_sweeps=True)

    def _registered(self, key: str) -> float:
        return self._story.registered_on(self._plans[key])

    def _server(self, key: str) -> Server:
        return self._story.servers[key]

    # --- What servers list -------------------------------------------------------------------------------

    def start(self, key: str, version: str, said: Mapping[str, Any]) -> None:
        """As `manage.py probe_stdio` does it: the program is started twice, and both listings are handed in."""
        server, run = self._server(key), ids.new_id()
        endpoint = server.endpoints.get(retired_at=None)
        varies = said.get("varies", {"values": ("", "")})
        for value in varies["values"]:
            listing = self._listing(key, said["tools"])
            if "tool" in varies:
                tool = next(each for each in listing.tools if each["name"] == varies["tool"])
                tool["inputSchema"]["properties"][varies["argument"]]["default"] = value
            seen = self._listed(key, listing, version, "stdio", 1_300)
            with acting(self._story.people[self._plans[key]["owner"]]) as actor:
                discovery.record_snapshot(
                    actor=actor,
                    server=server,
                    endpoint=endpoint,
                    channel=Snapshot.Channel.COMMAND,
                    seen=seen,
                    taken_at=clock.now(),
                    run=run,
                )

    def probe(self, key: str, said: Mapping[str, Any]) -> None:
        with acting(self._story.people[self._plans[key]["owner"]]) as actor:
            asked = discovery.request_probe(actor=actor, server=self._server(key))

        def look(url: str, *, say: Say) -> Seen:
            say(_("Demo data: nobody asks %(url)s, this is told.") % {"url": url}, "doing")
            seen = self._seen(key, said)
            say(
                str(Outcome(seen.outcome).label),
                "pass" if seen.outcome in (Outcome.LISTED, Outcome.PROTECTED) else "fail",
            )
            for check in seen.posture:
                say(check["detail"], check["outcome"])  # type: ignore[arg-type]
            return seen

        discovery.run_probe(probe_id=asked.pk, look=look)

    def _seen(self, key: str, said: Mapping[str, Any]) -> Seen:
        if "tools" in said:
            release = self._plans[key]["release"]
            return self._listed(key, self._listing(key, said["tools"]), release, "streamable-http", said["took"])
        outcome = Outcome(said["outcome"])
        weak = said.get("weak", {})
        checks = [
            {"check": check, "outcome": "warn" if check in weak else "pass", "detail": weak.get(check, detail)}
            for check, detail in PROTECTED
        ]
        if outcome == Outcome.SSE_ONLY:
            failed = "It speaks only HTTP with SSE, deprecated since 2025."
            checks = [checks[0], {"check": "transport", "outcome": "fail", "detail": failed}]
        return Seen(
            outcome,
            detail=_("No connection within ten seconds. Told by the demo data.")
            if outcome == Outcome.UNREACHABLE
            else TOLD,
            transport="sse" if outcome == Outcome.SSE_ONLY else "",
            posture=() if outcome == Outcome.UNREACHABLE else checks,
            milliseconds=said["took"],
        )

    def _listed(self, key: str, listing: Listing, version: str, transport: str, took: int) -> Seen:
        open_to_all = {"check": "asks_for_token", "outcome": "warn"}
        remote = transport != "stdio"
        return Seen(
            Outcome.LISTED,
            detail=TOLD,
            era=ERA,
            transport=transport,
            listing=listing,
            server_info={"name": self._plans[key]["title"], "version": version},
            posture=[open_to_all | {"detail": "It lists its tools to anybody who can reach it."}] if remote else [],
            pages=1,
            size=len(json.dumps(listing.tools)),
            milliseconds=took,
        )

    def _listing(self, key: str, said: Mapping[str, Any]) -> Listing:
        kinds = dict(self._plans[key]["tools"])
        return Listing(
            tools=[
                definition(name, words[0], words[1], words[2] if len(words) > 2 else kinds[name])
                for name, words in said.items()
                if words is not None
            ]
        )

    # --- Where credentials are ---------------------------------------------------------------------------

    def _plan_secrets(self) -> None:
        plan = self._story.timeline.plan
        for key, said in self._looks["secrets"].items():
            for day in said["days"]:
                plan(day, self.check_secret, key, said, left_to_sweeps=True)
        for key, said in self._looks["attested"].items():
            plan(said["days"], self.attest, key, said, left_to_sweeps=True)

    def _source(self, key: str) -> SecretSource:
        return self._server(key).secret_sources.select_related("server").get(retired_at=None)

    def check_secret(self, key: str, said: Mapping[str, Any]) -> None:
        rotated = said.get("rotated")
        rotated_at = self._story.timeline.instant(rotated) if rotated else None

        def ask(_source: SecretSource) -> Looked:
            return Looked(
                said["outcome"],
                TOLD,
                rotation_enabled=said.get("rotation"),
                last_rotated_at=rotated_at if rotated_at and rotated_at <= clock.now() else None,
            )

        # Its owner asks, once it is in service; of drafts security does.
        source = self._source(key)
        asks = self._plans[key]["owner"] if source.server.lifecycle == Lifecycle.ACTIVE else "security"
        with acting(self._story.people[asks]) as actor:
            discovery.check_secret_source(actor=actor, source=source, ask=ask)

    def attest(self, key: str, said: Mapping[str, Any]) -> None:
        with acting(self._story.people[self._plans[key]["owner"]]) as actor:
            discovery.attest_secret_source(
                actor=actor,
                source=self._source(key),
                statement=said["statement"],
                until=clock.today() + timedelta(days=said["lasts"]),
                last_rotated_on=self._story.timeline.instant(said["rotated"]).date() if "rotated" in said else None,
            )

    # --- What clients use --------------------------------------------------------------------------------

    def _plan_sightings(self) -> None:
        plan = self._story.timeline.plan
        for told in self._clients["handed_in"]:
            plan(told["days"], self.hand_in, told, left_to_sweeps=True)
        for told in self._clients["seen_by_the_fleet"]:
            plan(told["days"], self.report, told, left_to_sweeps=True)
        plan(self._clients["linked"]["days"], self.link, self._clients["linked"])
        plan(self._clients["ignored"]["days"], self.ignore, self._clients["ignored"])

    def hand_in(self, told: Mapping[str, Any]) -> None:
        """Somebody imports the configuration of their own client."""
        rows = read_document(json.dumps(told["content"]), file=told["file"], place=told["place"])
        with acting(self._story.people[told["by"]]) as actor:
            discovery.import_entries(actor=actor, files=[File(told["file"], rows)])

    def report(self, told: Mapping[str, Any]) -> None:
        """Security's inventory of laptops and build machines hands in what it found."""
        rows = read_document(json.dumps(told["content"]), file=told["file"], client=told["client"], place=told["place"])
        entries = [row.read for row in rows if isinstance(row.read, Configured)]
        with acting(self._story.people["security"]) as actor:
            discovery.report_sightings(actor=actor, entries=entries)

    def link(self, told: Mapping[str, Any]) -> None:
        with acting(self._story.people["security"]) as actor:
            server = self._server(told["server"])
            discovery.link_shadow(actor=actor, shadow=self._shadow(told["entry"]), server=server)

    def ignore(self, told: Mapping[str, Any]) -> None:
        with acting(self._story.people["security"]) as actor:
            discovery.ignore_shadow(
                actor=actor,
                shadow=self._shadow(told["entry"]),
                reason=told["reason"],
                until=clock.today() + timedelta(days=told["lasts"]),
            )

    def _shadow(self, entry: str) -> Shadow:
        """What clients call so and no server answers for."""
        found: Shadow = Shadow.objects.filter(sightings__entry=entry, state=ShadowState.OPEN).distinct().get()
        return found

    # --- Another registry --------------------------------------------------------------------------------

    def follow(self, told: Mapping[str, Any]) -> None:
        with acting(self._story.people["security"]) as actor:
            self.source = discovery.follow_registry(
                actor=actor,
                name=told["name"],
                base_url=told["base_url"],
                interval_minutes=7 * 24 * 60,
                makes_drafts=False,
            )
        self._walk(told["walks"][0])

    def follow_on(self, told: Mapping[str, Any]) -> None:
        with acting(self._story.people["security"]) as actor:
            self.source = discovery.sync_registry(actor=actor, source=self.source)
        self._walk(told["walks"][1])

    def _walk(self, told: Mapping[str, Any]) -> None:
        at = clock.now().isoformat()
        servers = [
            {
                "server": {"name": name, "version": version, "description": "Told by the demo data."},
                "_meta": {OFFICIAL: {"status": status, "isLatest": True, "publishedAt": at, "updatedAt": at}},
            }
            for name, version, status in told["servers"]
        ]
        content = json.dumps({"servers": servers, "metadata": {"count": len(servers)}}).encode()
        discovery.run_sync(
            source_id=self.source.pk, ask=lambda url: Answer(200, httpx2.Headers(), content=content, url=url)
        )


def definition(name: str, description: str, arguments: Mapping[str, str], kind: str) -> dict[str, Any]:
    """A tool as a server lists it. Arguments whose name ends with a question mark may be left out."""
    return {
        "name": name,
        "description": description,
        "inputSchema": {
            "type": "object",
            "properties": {argument.rstrip("?"): {"type": type_} for argument, type_ in arguments.items()},
            "required": [argument for argument in arguments if not argument.endswith("?")],
        },
        "annotations": HINTS[kind],
    }
