"""What the rules would answer, with what speaks for it and against it.

A pure function over the evidence a reviewer sees and what was decided before: the same input gives the same answer,
and nothing is fetched. Three limits hold everywhere (RECERTIFICATION section 4):

* Reasons and counter-evidence come together; a recommendation without its other side is an order.
* What is not known is said to be unknown. That no log shows a call never means that something is unused.
* On critical and high tiers it is shown only after a first own answer (`may_show`), so that it does not anchor.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from typing import Any, Protocol

from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.catalog.models import DataClass, SecretSource, ToolClass
from registry.core import clock
from registry.reviews.cadence import REASON_REQUIRED
from registry.reviews.facts import Json, reducible
from registry.reviews.models import Decision, FirstChoice, Item, ItemRefresh, WorkItem

Value = Decision.Value
CAUTION = (Value.REVOKE, Value.CERTIFY_REDUCED, Value.NOT_DECIDED, Value.CERTIFY)
"""The most cautious answer that has a reason is the one recommended."""
RISKY = (ToolClass.DESTRUCTIVE, ToolClass.EXECUTE)
ANCHORED = REASON_REQUIRED
"""Tiers on which one answers first and reads the rules' opinion afterwards."""
NAMED = 4


@dataclass(frozen=True)
class Recommendation:
    """`value` is empty where the rules have no opinion; `kept` belongs to a reduction, in the order of `reducible`."""

    value: str
    kept: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    counter: tuple[str, ...] = ()


class Answered(Protocol):
    """A signed decision of an earlier review."""

    value: str
    signed_at: datetime | None


class Reviewed(Protocol):
    """What a recommendation is about: an item, or anything that shows evidence like one."""

    @property
    def seen(self) -> Item | ItemRefresh: ...


def recommend(
    item: Reviewed,
    baseline: tuple[Json, datetime] | None = None,
    past: Sequence[Answered] = (),
    today: date | None = None,
) -> Recommendation:
    """The rules' opinion on what a reviewer sees.

    `baseline` is what was certified last and when (`desk.last_certified`), `past` what was decided before, newest
    first. `past` only adds counter-evidence: the value never depends on it.
    """
    look = Look(item.seen.evidence, baseline, past, today or clock.today())
    grounds = [ground for rule in RULES for ground in rule(look)]
    value = next((each for each in CAUTION if any(ground.value == each for ground in grounds)), "")
    return Recommendation(
        value=value,
        kept=look.worth_keeping if value == Value.CERTIFY_REDUCED else (),
        reasons=_once(ground.says for ground in grounds if value and ground.value == value),
        counter=_once(ground.says for ground in grounds if not value or ground.value != value),
    )


def may_show(item: Item, work_item: WorkItem) -> bool:
    """Whether this reviewer may read the rules' opinion now: on critical and high tiers after a first own answer.

    A first answer on other evidence does not count: what is recommended on newer facts is news again.
    """
    if item.tier not in ANCHORED:
        return True
    return FirstChoice.objects.filter(
        work_item=work_item.pk, reviewer=work_item.reviewer_id, evidence_hash=item.seen.evidence_hash
    ).exists()


def _once(sentences: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sentences))


# --- What the rules look at ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ground:
    """One sentence and the answer it points to; without an answer it only belongs to the picture."""

    says: str
    value: str = ""


@dataclass(frozen=True)
class Look:
    """Evidence with the questions the rules ask of it."""

    evidence: Json
    baseline: tuple[Json, datetime] | None = None
    past: Sequence[Answered] = field(default_factory=tuple)
    today: date = field(default_factory=clock.today)

    @property
    def facts(self) -> Json:
        facts: Json = self.evidence["facts"]
        return facts

    @property
    def context(self) -> Json:
        context: Json = self.evidence["context"]
        return context

    @property
    def kind(self) -> str:
        return str(self.facts["kind"])

    @property
    def server(self) -> Json:
        """What is recorded of the server behind it; empty for an agent, which stands on none."""
        server: Json = self.context.get("server") or {}
        return server

    @property
    def tools(self) -> list[Json]:
        """The tools it is about, with what is noted of each; a grant may name some the server no longer lists."""
        notes = {note["name"]: note for note in self.context.get("tools") or ()}
        return [{**tool, "note": notes.get(tool["name"])} for tool in self.facts.get("tools") or ()]

    @cached_property
    def not_worth_keeping(self) -> dict[str, str]:
        """Atoms of a grant that should go, each with why: `unlisted`, `unapproved` or `risky`."""
        if self.kind != "grant":
            return {}
        found = {}
        for tool in self.tools:
            note = tool["note"]
            if note is None or not tool["digest"]:
                found[tool["name"]] = "unlisted"
            elif not note["approved"]:
                found[tool["name"]] = "unapproved"
            elif self.facts["all_tools"] and tool["class"] in RISKY:
                # Named one by one somebody asked for them; a wildcard hands them out unasked.
                found[tool["name"]] = "risky"
        return found

    @property
    def worth_keeping(self) -> tuple[str, ...]:
        return tuple(atom for atom in reducible(self.evidence) if atom not in self.not_worth_keeping)

    @property
    def unchanged(self) -> bool:
        return self.baseline is not None and bool(self.baseline[0]["facts"] == self.facts)


Rule = Callable[[Look], Iterator[Ground]]


# --- The rules -------------------------------------------------------------------------------------------


def nobody_answers(look: Look) -> Iterator[Ground]:
    """Whoever should know is gone: of the caller nobody is left to ask, of a server its deputy may be."""
    agent = look.context.get("agent")
    if agent is not None and not agent["owner"]:
        yield Ground(_("Nobody owns %(agent)s.") % {"agent": agent["name"]}, Value.REVOKE)
    elif agent is not None and not agent["owner_active"]:
        left = _("%(owner)s, who owns %(agent)s, has left.") % {"owner": agent["owner"], "agent": agent["name"]}
        yield Ground(left, Value.REVOKE)
    server = look.server
    if server and not server["owner_active"]:
        gone = (
            _("%(owner)s, who owns %(server)s, has left.") % {"owner": server["owner"], "server": server["label"]}
            if server["owner"]
            else _("Nobody owns %(server)s.") % {"server": server["label"]}
        )
        if server["deputy"]:
            ask = _("%(deputy)s is the deputy and may know.") % {"deputy": server["deputy"]}
            yield Ground(f"{gone} {ask}", Value.NOT_DECIDED)
        else:
            yield Ground(gone, Value.REVOKE)
    system = look.context.get("system")
    if system is not None and not system["owner"]:
        yield Ground(_("Nobody owns %(system)s.") % {"system": system["name"]}, Value.NOT_DECIDED)


def purpose_is_over(look: Look) -> Iterator[Ground]:
    if not look.server:
        return
    purpose = look.context.get("purpose")
    if purpose is None:
        yield Ground(_("No purpose is written down: what it is for is not known."), Value.NOT_DECIDED)
    elif (ended := date.fromisoformat(purpose["ends_on"])) < look.today:
        yield Ground(_("Its purpose ended on %(day)s.") % {"day": _day(ended)}, Value.REVOKE)


def purpose_does_not_allow_the_data(look: Look) -> Iterator[Ground]:
    purpose = look.context.get("purpose")
    if purpose is None:
        return
    if look.kind == "connection":
        if _beyond(purpose, {DataClass(look.facts["data_class"])}):
            data = str(DataClass(look.facts["data_class"]).label).lower()
            yield Ground(_("The purpose does not allow %(data)s data.") % {"data": data}, Value.REVOKE)
        return
    reached = {DataClass(row["data_class"]) for row in look.facts.get("downstream") or ()}
    if beyond := _beyond(purpose, reached):
        data = _listed([str(each.label).lower() for each in beyond])
        yield Ground(_("The server reaches %(data)s data, which its purpose does not allow.") % {"data": data})


def _beyond(purpose: Mapping[str, Any], reached: Iterable[DataClass]) -> list[DataClass]:
    """What of this is more harmful than the purpose allows, the least first: whoever may hold what is harmful may hold
    what is harmless."""
    most = max((DataClass(name).rank for name in purpose["data_classes"]), default=-1)
    return sorted((each for each in reached if each.rank > most), key=lambda each: each.rank)


def beyond_purpose(facts: Mapping[str, Any], context: Mapping[str, Any]) -> list[str]:
    """The data a registration reaches, or asks to reach, although its purpose does not allow it; in words."""
    purpose = context.get("purpose")
    rows = [*(facts.get("downstream") or ()), *(context.get("connections") or ())]
    found = _beyond(purpose, {DataClass(row["data_class"]) for row in rows}) if purpose else []
    return [str(each.label) for each in found]


def more_than_needed(look: Look) -> Iterator[Ground]:
    """Tools a grant should not include. Without anything worth keeping nobody can say what is meant: ask."""
    found = look.not_worth_keeping
    if not found:
        return
    value = Value.CERTIFY_REDUCED if look.worth_keeping else Value.NOT_DECIDED
    if found and all(why == "unlisted" for why in found.values()) and not look.worth_keeping:
        yield Ground(_("The server lists none of the tools any more."), Value.REVOKE)
        return
    for why, says in (
        ("risky", _("It includes every tool, also these that destroy or execute: %(names)s.")),
        ("unapproved", _("These tools were never approved: %(names)s.")),
        ("unlisted", _("The server no longer lists these tools: %(names)s.")),
    ):
        if names := [name for name, because in found.items() if because == why]:
            yield Ground(says % {"names": _listed(names)}, value)


def wildcard(look: Look) -> Iterator[Ground]:
    if look.kind == "grant" and look.facts["all_tools"]:
        yield Ground(_("It also includes every tool the server will list in future."))


def unapproved_tools_of_a_server(look: Look) -> Iterator[Ground]:
    if look.kind != "server":
        return
    names = [note["name"] for note in look.context.get("tools") or () if not note["approved"]]
    if names:
        yield Ground(_("Certifying it approves these tools: %(names)s.") % {"names": _listed(names)})


def old_credentials(look: Look) -> Iterator[Ground]:
    """A credential that lives longer than promised, or nobody knows how long."""
    for secret in look.context.get("secrets") or ():
        name = secret["reference"] or secret["shown"]
        interval, rotated = secret["rotation_interval_days"], secret["last_rotated_on"]
        if rotated and interval:
            age = (look.today - date.fromisoformat(rotated)).days
            if age > interval:
                yield Ground(
                    _("The credential %(name)s is %(age)d days old; it is to be rotated every %(interval)d days.")
                    % {"name": name, "age": age, "interval": interval}
                )
        elif secret["credential_type"] == SecretSource.CredentialType.STATIC and not rotated:
            yield Ground(
                _("The credential %(name)s is static, and when it was last rotated is unknown.") % {"name": name}
            )


def missing_credentials(look: Look) -> Iterator[Ground]:
    """A credential that its store does not know: the server does not get it, or gets it from elsewhere."""
    for secret in look.context.get("secrets") or ():
        name = secret["reference"] or secret["shown"]
        if secret["verification"] == SecretSource.Verification.NOT_FOUND:
            yield Ground(_("Its store knows no credential %(name)s.") % {"name": name})
        elif secret["verification"] == SecretSource.Verification.DELETED:
            yield Ground(_("The credential %(name)s is marked for deletion in its store.") % {"name": name})


def no_way_to_cut_it_off(look: Look) -> Iterator[Ground]:
    if look.server and not look.context["revocation"]["steps"]:
        yield Ground(_("How it is switched off is not documented."))


def others_depend_on_it(look: Look) -> Iterator[Ground]:
    if look.kind == "server" and (number := look.server["agents"]):
        yield Ground(ngettext("%(n)d agent works through it.", "%(n)d agents work through it.", number) % {"n": number})


def use(look: Look) -> Iterator[Ground]:
    """Without complete logs nothing is said about use, least of all that there is none."""
    if look.context.get("activity") is None:
        yield Ground(_("Whether it is used is unknown: no activity log is connected."))


def compared_with_the_last_certificate(look: Look) -> Iterator[Ground]:
    if look.baseline is None:
        yield Ground(_("It was never certified: there is nothing to compare with."))
    elif look.unchanged:
        day = _day(look.baseline[1].date())
        yield Ground(_("Nothing material changed since it was certified on %(day)s.") % {"day": day}, Value.CERTIFY)
    else:
        day = _day(look.baseline[1].date())
        yield Ground(_("Material facts changed since it was certified on %(day)s.") % {"day": day})


def doubts_of_the_past(look: Look) -> Iterator[Ground]:
    for decision in look.past[:NAMED]:
        if decision.signed_at is None:
            continue
        said = {
            Value.NOT_DECIDED: _("A reviewer was not sure on %(day)s."),
            Value.REVOKE: _("A reviewer revoked it on %(day)s."),
        }.get(Value(decision.value))
        if said is not None:
            yield Ground(said % {"day": _day(decision.signed_at.date())})


RULES: tuple[Rule, ...] = (
    nobody_answers,
    purpose_is_over,
    purpose_does_not_allow_the_data,
    more_than_needed,
    compared_with_the_last_certificate,
    wildcard,
    unapproved_tools_of_a_server,
    missing_credentials,
    old_credentials,
    no_way_to_cut_it_off,
    others_depend_on_it,
    doubts_of_the_past,
    use,
)


def _day(day: date) -> str:
    return date_format(day, "j F Y")


def _listed(names: Sequence[Any]) -> str:
    """At most `NAMED` names, and how many more."""
    shown = ", ".join(str(name) for name in names[:NAMED])
    more = len(names) - NAMED
    return _("%(names)s and %(n)d more") % {"names": shown, "n": more} if more > 0 else shown
