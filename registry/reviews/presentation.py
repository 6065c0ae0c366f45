"""How an item reads on the screen: one sentence, what to watch, rows to keep or cut, the picture of its reach.

Built from the frozen evidence only, so that everybody who looks at an item sees the same.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from registry.catalog.models import DataClass, SecretSource, Tier, ToolClass
from registry.core import clock
from registry.core.icons import Icon
from registry.core.panels import PlacedPanel, panels_for
from registry.reviews.comparison import Change, in_words
from registry.reviews.desk import Consequences
from registry.reviews.facts import Json
from registry.reviews.models import Decision, Item
from registry.trust.models import Connection, Grant
from registry.trust.picture import AgentEdge, Node, SystemEdge, TrustPath, draw

SENSITIVE = (DataClass.CONFIDENTIAL, DataClass.RESTRICTED)
KIND_ICONS = {"server": Icon.SERVER, "grant": Icon.BOT, "connection": Icon.DATABASE, "agent": Icon.BOT}


@dataclass(frozen=True)
class Signal:
    """The one thing to notice first about an item, with its tone."""

    icon: str
    tone: str
    words: str


@dataclass(frozen=True)
class Row:
    """Something granted: kept or cut by a reduction. `atom` is empty where nothing can be cut."""

    name: str
    atom: str = ""
    tool_class: str = ""
    detail: str = ""
    is_new: bool = False
    kept: bool = True
    approved: bool = True
    unconfirmed: str = ""


@dataclass(frozen=True)
class SecretFacts:
    name: str
    note: str
    tone: str
    credential: str = ""


@dataclass(frozen=True)
class ItemView:
    sentence: str
    rows: Sequence[Row]
    secrets: Sequence[SecretFacts]
    picture: str
    reach: Sequence[Signal]
    systems: Sequence[Json]
    context: Json
    facts: Json

    @property
    def server(self) -> Json:
        """The server it is or rests on; empty for an agent."""
        server: Json = self.context.get("server") or {}
        return server

    @property
    def agent_grants(self) -> list[Json]:
        """What an agent may call: facts of each grant with the names around it, what needs a look first."""
        granted = {row["server"]: row for row in self.facts.get("grants") or ()}
        rows = [{**granted.get(row["server"], {}), **row} for row in self.context.get("grants") or ()]
        return sorted(rows, key=_worst_first)

    @property
    def reducible(self) -> bool:
        """Whether a strict part could be kept: of one thing there is only all or nothing."""
        if self.facts["kind"] == "connection":
            return self.facts["access"] != Connection.Access.READ or len(self.facts["scopes"]) > 1
        atoms = sum(bool(row.atom) for row in self.rows)
        # Naming the one tool there is narrows a wildcard.
        return atoms > (0 if self.facts.get("all_tools") else 1)

    @property
    def data_classes(self) -> list[str]:
        """What the purpose allows to be touched, in words."""
        purpose = self.context.get("purpose")
        return [str(DataClass(name).label) for name in purpose["data_classes"]] if purpose else []

    @property
    def unapproved(self) -> list[str]:
        return [row.name for row in self.rows if not row.approved]


# --- Places that other rooms fill ------------------------------------------------------------------------


@dataclass(frozen=True)
class Slot:
    """A place in the evidence for what another room knows. Without one it says what is not known, never "none"."""

    title: "str | Promise"
    unknown: "str | Promise"
    panels: Sequence[PlacedPanel] = field(default_factory=tuple)


SLOTS: Mapping[str, Slot] = {
    "activity": Slot(
        gettext_lazy("Use"),
        gettext_lazy("No log source covers this. That no call was seen means use is unknown, not that it is unused."),
    ),
    "findings": Slot(
        gettext_lazy("Findings"),
        gettext_lazy("No checks look at this yet. No finding does not mean that nothing is wrong."),
    ),
    "drill": Slot(
        gettext_lazy("Last drill"),
        gettext_lazy("Not rehearsed yet: the minutes are the owner's estimate, nobody measured them."),
    ),
    "now": Slot(
        gettext_lazy("As it stands now"),
        gettext_lazy("Only what was frozen when this item was made is known."),
    ),
    "observed": Slot(
        gettext_lazy("Observed"),
        gettext_lazy("Nothing observes it yet: what is declared was not compared with what really happens."),
    ),
}


def slots(item: Item) -> dict[str, Slot]:
    """The places of an item's page. A room fills one with `panels.register(page="review.activity.grant", …)`: the
    slot, then the kind of the subject, whose id the fragment gets.
    """
    return {
        name: Slot(slot.title, slot.unknown, panels_for(f"review.{name}.{item.kind}", item.subject_pk))
        for name, slot in SLOTS.items()
    }


# --- The item --------------------------------------------------------------------------------------------


def present(
    item: Item, evidence: Json, changes: Sequence[Change], draft: Decision | None, consequences: Consequences
) -> ItemView:
    """`consequences` name the agents that are drawn before the server."""
    facts, context = evidence["facts"], evidence["context"]
    kept = set(draft.kept) if draft is not None and draft.value == Decision.Value.CERTIFY_REDUCED else None
    added = {change.what for change in changes if change.sign == "add"}
    return ItemView(
        sentence=sentence(evidence),
        rows=_rows(evidence, kept, added),
        secrets=[_secret(source) for source in context.get("secrets") or ()],
        picture=draw(_path(item, evidence, consequences)) if context.get("server") else "",
        reach=reach(evidence),
        systems=context.get("connections") or (),
        context=context,
        facts=facts,
    )


def sentence(evidence: Json) -> str:
    """The item in one sentence without jargon (RECERTIFICATION section 4)."""
    facts, context = evidence["facts"], evidence["context"]
    if facts["kind"] == "agent":
        return _agent_sentence(evidence)
    server, source = context["server"], _credential(context["secrets"])
    systems = [row["name"] for row in context["connections"]]
    reach = _("reaching %(systems)s") % {"systems": _listed(systems)} if systems else _("reaching no system we know of")
    match facts["kind"]:
        case "grant":
            tools = (
                _("every tool, also future ones,")
                if facts["all_tools"]
                else ngettext("%(n)d tool", "%(n)d tools", len(facts["tools"])) % {"n": len(facts["tools"])}
            )
            behalf = facts["behalf_detail"] or str(Grant.OnBehalfOf(facts["on_behalf_of"]).label).lower()
            return _("%(agent)s may use %(tools)s of %(server)s on behalf of %(behalf)s, %(reach)s, %(source)s.") % {
                "agent": context["agent"]["name"],
                "tools": tools,
                "server": server["label"],
                "behalf": behalf,
                "reach": reach,
                "source": source,
            }
        case "connection":
            return _("%(server)s may %(access)s on %(system)s (%(data)s data), %(source)s, until %(until)s.") % {
                "server": server["label"],
                "access": {"read": _("read"), "write": _("read and write"), "admin": _("administer")}[facts["access"]],
                "system": context["system"]["name"],
                "data": str(DataClass(facts["data_class"]).label).lower(),
                "source": source,
                "until": in_words(facts["valid_until"]),
            }
    agents = ngettext("%(n)d agent calls it", "%(n)d agents call it", server["agents"]) % {"n": server["agents"]}
    tools = ngettext("%(n)d tool", "%(n)d tools", len(facts["tools"])) % {"n": len(facts["tools"])}
    return _("%(server)s offers %(tools)s in %(environment)s, %(reach)s, %(source)s; %(agents)s.") % {
        "server": server["label"],
        "tools": tools,
        "environment": facts["environment"],
        "reach": reach,
        "source": source,
        "agents": agents,
    }


def _agent_sentence(evidence: Json) -> str:
    agent, grants = evidence["context"]["agent"], evidence["context"].get("grants") or ()
    calls = (
        ngettext("may call %(n)d server", "may call %(n)d servers", len(grants)) % {"n": len(grants)}
        if grants
        else _("may call no server")
    )
    return _("%(agent)s is known as %(identity)s, belongs to %(owner)s and %(calls)s.") % {
        "agent": agent["name"],
        "identity": agent["identity"],
        "owner": agent["owner"] or _("nobody"),
        "calls": calls,
    }


def _credential(secrets: Sequence[Json]) -> str:
    named = [row for row in secrets if row["kind"] != "none"]
    if not named:
        return _("with no credential")
    first = _("with a credential from %(shown)s") % {"shown": named[0]["shown"]}
    return first if len(named) == 1 else _("%(first)s and %(n)d more") % {"first": first, "n": len(named) - 1}


def _listed(names: Sequence[str], most: int = 3) -> str:
    if len(names) <= most:
        return ", ".join(names)
    return _("%(names)s and %(n)d more") % {"names": ", ".join(names[:most]), "n": len(names) - most}


def _worst_first(grant: Json) -> tuple[int, bool, str]:
    """The order of an agent's grants: what needs a look first."""
    return -Tier(grant["tier"]).rank, not grant.get("all_tools"), grant["name"]


# --- What to watch ---------------------------------------------------------------------------------------


def signal(evidence: Json) -> Signal:
    """The worst fact of an item, for the queue."""
    facts, context = evidence["facts"], evidence["context"]
    agent, server = context.get("agent"), context.get("server")
    if server is not None and not server["owner_active"]:
        return Signal(Icon.USER_X, "danger", _("Its owner left"))
    if agent is not None and not agent["owner_active"]:
        return Signal(Icon.USER_X, "danger", _("The agent has no active owner"))
    secrets = context.get("secrets") or ()
    for source in secrets:
        age, interval = rotation_age(source), source["rotation_interval_days"]
        if age and interval and age > interval:
            return Signal(Icon.KEY_ROUND, "danger", _("Secret is %(n)d days old") % {"n": age})
    if facts.get("all_tools"):
        return Signal(Icon.TRIANGLE_ALERT, "danger", _("Every tool, also future ones"))
    tools = facts.get("tools") or ()
    harmful = [row for row in tools if row["class"] in (ToolClass.DESTRUCTIVE, ToolClass.EXECUTE)]
    if harmful:
        return Signal(Icon.TRIANGLE_ALERT, "danger", _("Can destroy or execute"))
    sensitive = [row for row in _reached(evidence) if row["data_class"] in SENSITIVE and row["access"] != "read"]
    if sensitive:
        return Signal(Icon.PENCIL, "warn", _("Can change %(name)s") % {"name": sensitive[0]["name"]})
    if any(source["credential_type"] == "static" for source in secrets):
        return Signal(Icon.KEY_ROUND, "warn", _("Static credential"))
    if facts.get("access", "read") != "read" or any(row["class"] == ToolClass.WRITE for row in tools):
        return Signal(Icon.PENCIL, "warn", _("Can write"))
    if facts["kind"] == "agent":
        called = sorted(context.get("grants") or (), key=_worst_first)
        words = _("Calls %(name)s") % {"name": called[0]["label"]} if called else _("Calls nothing")
        return Signal(Icon.BOT, "", words)
    if not tools and not facts.get("access"):
        return Signal(Icon.CIRCLE_QUESTION_MARK, "warn", _("No tools listed"))
    return Signal(Icon.CHECK, "ok", _("Reads only"))


def _reached(evidence: Json) -> list[Json]:
    """The connections an item is about: a connection itself, else all of its server."""
    facts, connections = evidence["facts"], evidence["context"].get("connections") or ()
    return [row for row in connections if facts["kind"] != "connection" or row["system"] == facts["system"]]


def size(evidence: Json) -> str:
    """How much it is about, in a word or two."""
    facts = evidence["facts"]
    match facts["kind"]:
        case "connection":
            return str(Connection.Access(facts["access"]).label)
        case "agent":
            number = len(evidence["context"].get("grants") or ())
            return ngettext("%(n)d server", "%(n)d servers", number) % {"n": number}
    if facts.get("all_tools"):
        return _("All tools")
    return ngettext("%(n)d tool", "%(n)d tools", len(facts["tools"])) % {"n": len(facts["tools"])}


def queue_name(evidence: Json) -> str:
    """What an item is called below the name of its server."""
    context = evidence["context"]
    match evidence["facts"]["kind"]:
        case "grant" | "agent":
            return str(context["agent"]["name"])
        case "connection":
            return str(context["system"]["name"])
    return _("The server itself")


def reach(evidence: Json) -> list[Signal]:
    """The blast radius in figures: systems, worst data, what its tools can do."""
    found = []
    connections = _reached(evidence)
    if connections or evidence["facts"]["kind"] != "agent":
        systems = ngettext("%(n)d system", "%(n)d systems", len(connections)) % {"n": len(connections)}
        found.append(Signal(Icon.DATABASE, "", systems))
    if connections:
        worst = max((DataClass(row["data_class"]) for row in connections), key=lambda data: data.rank)
        tone = "warn" if worst in SENSITIVE else ""
        found.append(Signal(Icon.LAYERS, tone, _("up to %(data)s data") % {"data": str(worst.label).lower()}))
    classes = Counter(tool["class"] for tool in evidence["facts"].get("tools") or () if tool["class"])
    for kind, icon, tone, words in (
        (ToolClass.READ, Icon.EYE, "", _("%(n)d read")),
        (ToolClass.WRITE, Icon.PENCIL, "warn", _("%(n)d write")),
        (ToolClass.DESTRUCTIVE, Icon.TRIANGLE_ALERT, "danger", _("%(n)d destroy")),
        (ToolClass.EXECUTE, Icon.TERMINAL, "danger", _("%(n)d execute")),
    ):
        if classes[kind]:
            found.append(Signal(icon, tone, words % {"n": classes[kind]}))
    return found


def rotation_age(source: Json) -> int | None:
    """Days since the last rotation, as of today; None when it is not known."""
    rotated = source["last_rotated_on"]
    return (clock.today() - date.fromisoformat(rotated)).days if rotated else None


def _secret(source: Json) -> SecretFacts:
    if source["kind"] == "none":
        return SecretFacts(_("No credential"), source["reason"], "")
    age, interval = rotation_age(source), source["rotation_interval_days"]
    if age is None:
        note, tone = _("Rotation not recorded"), "warn"
    else:
        note = ngettext("Rotated %(n)d day ago", "Rotated %(n)d days ago", age) % {"n": age}
        tone = "danger" if interval and age > interval else "ok"
    if source["servers_sharing"]:
        shared = ngettext(
            "shared with %(n)d other server", "shared with %(n)d other servers", source["servers_sharing"]
        )
        note, tone = f"{note}, {shared % {'n': source['servers_sharing']}}", "warn" if tone == "ok" else tone
    if (said := source["verification"]) and said != SecretSource.Verification.VERIFIED:
        note, tone = f"{SecretSource.Verification(said).label}. {note}", "danger"
    credential = str(SecretSource.CredentialType(source["credential_type"]).label) if source["credential_type"] else ""
    return SecretFacts(source["reference"] or source["shown"], note, tone, credential)


# --- What is granted -------------------------------------------------------------------------------------


def _rows(evidence: Json, kept: set[str] | None, added: set[str]) -> list[Row]:
    facts, context = evidence["facts"], evidence["context"]
    if facts["kind"] == "connection":
        ladder = [str(level) for level in Connection.Access]
        held = ladder[: ladder.index(facts["access"]) + 1]
        atoms = [
            *((str(Connection.Access(level).label), f"access:{level}", _("Access level")) for level in held),
            *((scope, scope, _("Scope")) for scope in facts["scopes"]),
        ]
        return [
            Row(name, atom, detail=detail, is_new=name in added, kept=kept is None or atom in kept)
            for name, atom, detail in atoms
        ]
    if facts["kind"] == "agent":
        return []
    notes = {note["name"]: note for note in context["tools"]}
    cuttable = facts["kind"] == "grant"
    return [
        Row(
            name=tool["name"],
            atom=tool["name"] if cuttable else "",
            tool_class=tool["class"],
            detail=notes.get(tool["name"], {}).get("description", ""),
            is_new=tool["name"] in added,
            kept=kept is None or tool["name"] in kept,
            approved=notes.get(tool["name"], {}).get("approved", False),
            unconfirmed=_unconfirmed(tool, notes.get(tool["name"])),
        )
        for tool in facts["tools"]
    ]


def _unconfirmed(tool: Json, note: Json | None) -> str:
    """That nobody confirmed a tool's class, and what it is taken for until somebody does."""
    if note is None or note["confirmed_class"]:
        return ""
    taken_for = str(ToolClass(tool["class"]).label).lower()
    return _("not confirmed, treated as %(class)s") % {"class": taken_for}


# --- Reach -----------------------------------------------------------------------------------------------


def _path(item: Item, evidence: Json, consequences: Consequences) -> TrustPath:
    facts, context = evidence["facts"], evidence["context"]
    server = context["server"]
    node = Node(
        server["short"],
        ngettext("%(n)d tool", "%(n)d tools", server["tool_count"]) % {"n": server["tool_count"]},
        Icon.SERVER,
        mono=True,
        tone="me" if facts["kind"] == "server" else "",
    )
    if facts["kind"] == "grant":
        agents = [AgentEdge(Node(context["agent"]["name"], facts["behalf_detail"], Icon.BOT, tone="me"))]
    else:
        agents = [AgentEdge(Node(loss.name, loss.behalf_detail, Icon.BOT)) for loss in consequences.agents]
    systems = []
    for row in context["connections"]:
        sensitive = row["data_class"] in SENSITIVE
        focus = facts["kind"] == "connection" and row["system"] == facts["system"]
        systems.append(
            SystemEdge(
                Node(
                    row["name"],
                    str(DataClass(row["data_class"]).label),
                    Icon.DATABASE,
                    tone="me" if focus else "amb" if sensitive else "",
                ),
                str(Connection.Access(row["access"]).label),
                hot=sensitive and row["access"] != "read",
                pending=row["status"] != "active",
            )
        )
    secrets = [
        Node(source["reference"] or source["shown"], source["shown"], Icon.KEY_ROUND, mono=True)
        for source in context["secrets"]
        if source["kind"] != "none"
    ]
    return TrustPath(
        server=node,
        agents=agents,
        systems=systems,
        secrets=secrets,
        hidden_agents=0 if facts["kind"] == "grant" else consequences.hidden,
        id=f"reach-{item.pk.hex}",
    )
