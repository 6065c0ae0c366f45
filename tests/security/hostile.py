"""Texts that attack whoever shows, exports or logs them, and an estate in which every text is one."""

from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from registry.accounts.models import Team, User
from registry.catalog.models import Agent, Server, System
from registry.discovery.models import Probe, Sighting, Snapshot
from registry.reviews.models import Campaign, Item
from registry.trust.models import Connection, Grant
from tests import factories as make

FORMULA = "=1+1;=2+2\t＝3"
MARKUP = "\"'><zq-live onclick=zq=1></zq-live><script>zq=1</script><img src=x onerror=zq=1><svg/onload=zq=1>"
HIDDEN = "\u202e\u2066\u200b\U000e0041"
"""Turns what follows around, isolates, takes no room, and a letter that only models read."""
ATTACK = f"{FORMULA}{MARKUP}{HIDDEN}"
SHORT = f"=2;=3{HIDDEN}\"'><zq-live onclick=zq=1><script>zq=1</script>"
"""For fields of a hundred characters."""
LINK = "javascript:zq=1//"
EVERYTHING = ("administrator", "auditor", "security", "reviewer", "campaign_manager", "member")


@dataclass
class Estate:
    """What of hostile text there is, and somebody who sees all of it."""

    reader: User
    server: Server
    system: System
    agent: Agent
    grant: Grant
    connection: Connection
    team: Team
    probe: Probe
    snapshot: Snapshot
    sighting: Sighting
    campaign: Campaign
    item: Item


def estate() -> Estate:
    owner, reviewer = make.person(name=SHORT), make.person("reviewer", name=SHORT)
    team = make.team(owner, name=SHORT)
    server = make.active_server(
        owner=owner,
        in_team=team,
        title=SHORT,
        description=ATTACK,
        tools=[{"name": SHORT[:60], "description": ATTACK, "confirmed_class": "write"}],
        secret={
            "kind": "vault",
            "reference": "kv/data/'\"><zq-live>",
            "credential_type": "rotated",
            "rotation_interval_days": 30,
            "revocable_by": SHORT,
        },
    )
    facts: dict[str, Any] = {"owner": owner, "created_by": owner, "team": team, "description": ATTACK}
    system = make.system(name=SHORT, **facts)
    agent = make.agent(name=SHORT, **facts)
    grant = make.grant(server=server, agent=agent, reason=ATTACK)
    connection = make.connection(server=server, system=system, reason=ATTACK)
    snapshot = make.snapshot(
        server,
        {"name": SHORT, "title": ATTACK, "description": ATTACK, "inputSchema": {"type": "object", "title": ATTACK}},
        times=2,
    )
    sighting = make.sighting(
        by=owner, entry=SHORT, place=SHORT, command="npx", args=["-y", "some-server", MARKUP.replace("=", " ")]
    )
    campaign = make.campaign(reviewer, name=SHORT)
    item = Item.objects.get(campaign=campaign, kind="server")
    make.decide(item, "certify", reason=ATTACK)
    return Estate(
        reader=make.person(*EVERYTHING, name="Rea Reader"),
        server=server, system=system, agent=agent, grant=grant, connection=connection, team=team,
        probe=make.probe(server), snapshot=snapshot, sighting=sighting, campaign=campaign, item=item,
    )  # fmt: skip


URLS = {"href", "src", "action", "formaction", "xlink:href", "data", "poster", "srcset", "ping", "manifest", "hx-get"}
URLS |= {"hx-post", "hx-put", "hx-delete", "hx-patch", "background"}
SAFE_STARTS = ("/", "?", "#", "https://", "http://", "mailto:", "data:image/")


class LiveParts(HTMLParser):
    """Reads a page as a browser does and keeps what in it could run."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.live: list[str] = []
        self.elements = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements += 1
        here = dict(attributes)
        if tag in ("zq-live", "iframe", "object", "embed", "base"):
            self.live.append(f"<{tag}>")
        ours = (here.get("src") or "").startswith("/static/") or here.get("type") == "application/json"
        if tag == "script" and not ours:
            self.live.append(f"<script {here}>")
        for name, value in attributes:
            address = "".join(c for c in (value or "") if c > " ").lower()
            schemed = ":" in address.split("/")[0] and not address.startswith(SAFE_STARTS)
            if name.startswith(("on", "hx-on")) or name in ("style", "srcdoc") or (name in URLS and schemed):
                self.live.append(f"<{tag} {name}={value}>")
            elif tag == "meta" and name == "http-equiv" and (value or "").lower() == "refresh":
                self.live.append("<meta refresh>")


def live_parts(page: str) -> list[str]:
    parser = LiveParts()
    parser.feed(page)
    parser.close()
    assert parser.elements, "nothing was read"
    return parser.live
