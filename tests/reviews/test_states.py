"""Whatever people and the clock do, and in whatever order: nothing moves outside the tables, nothing leaves an end."""

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.audit.models import Event
from registry.catalog.models import Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import RegistryError
from registry.core.states import Machine
from registry.reviews import services as reviews
from registry.reviews.facts import evidence_of
from registry.reviews.models import Campaign, Decision, Item, WorkItem
from registry.reviews.states import CAMPAIGN, ITEM, OPEN_ITEM, WORK_ITEM, CampaignState, ItemState, WorkItemState
from registry.trust import services as trust
from tests import factories as make

pytestmark = pytest.mark.django_db
CLOCK = Actor.system("a test's clock")


def reachable(machine: Machine, start: str) -> set[str]:
    found, todo = {start}, [start]
    while todo:
        for after in machine.moves.get(todo.pop(), ()):
            if after not in found:
                found.add(after)
                todo.append(after)
    return found


@pytest.mark.parametrize(
    ("machine", "states", "final"),
    [
        (CAMPAIGN, CampaignState, {"accepted", "cancelled"}),
        (
            ITEM,
            ItemState,
            {
                "certified", "certified_reduced", "certified_until", "revoked", "returned", "lapsed", "obsolete",
                "cancelled",
            },
        ),
        (WORK_ITEM, WorkItemState, {"closed"}),
    ],
    ids=["campaign", "item", "work item"],
)  # fmt: skip
def test_the_tables_name_every_state_and_end_where_they_should(machine, states, final):
    named = set(machine.moves) | {after for moves in machine.moves.values() for after in moves}
    assert named == set(states.values)
    assert {state for state in states.values if not machine.moves.get(state)} == final
    for state in set(states.values) - final:
        assert reachable(machine, state) & final, f"there is no way out of {state}"


def test_what_is_open_can_still_move():
    assert all(ITEM.moves.get(state) for state in OPEN_ITEM)


# --- A random walk -----------------------------------------------------------------------------------------

ROUND = ["decide", "decide", "sign"]
acts = st.sampled_from([
    *ROUND, *ROUND, *ROUND, *ROUND, "undo", "recuse", "reassign", "escalate", "retry", "time_over", "stake", "facts",
    "confirm", "vanish", "settle", "late", "close", "cancel", "accept",
])  # fmt: skip
values = st.sampled_from(["certify", "certify", "certify_until", "certify_reduced", "revoke", "not_decided"])
steps = st.lists(st.tuples(acts, values, st.integers(0, 99)), min_size=8, max_size=24)
# Most walks would stop half way; this one leads on to the end, if there is a way.
HOMEWARD = [*["confirm", *ROUND] * 6, "close", "accept"]
strategies = st.sampled_from(["one_deny_denies", "all_must_certify", "first_valid_decides", "by_tier"])


class Walk:
    """A campaign over a server and its grant, and every act anybody may try on it."""

    def __init__(self, strategy: str, seats: int) -> None:
        self.people = [make.person("reviewer") for _ in range(5)]
        self.server = make.active_server()
        self.grant = make.grant(server=self.server)
        stage = {"reviewers": self.people[:4], "reviewers_per_item": seats, "strategy": strategy}
        self.campaign = make.campaign(
            kinds=["server", "grant"], scope={"q": self.server.name}, stages=[stage, {**stage, "reviewers_per_item": 1}]
        )
        self.owner = make.acting(self.campaign.owner)

    def pick(self, queryset, number: int):
        rows = list(queryset.order_by("pk"))
        return rows[number % len(rows)] if rows else None

    def act(self, act: str, value: str, number: int) -> None:
        held = WorkItem.objects.filter(item__campaign=self.campaign).exclude(state="closed")
        work_item = self.pick(held.filter(state="open"), number) or self.pick(held, number)
        item = self.pick(Item.objects.filter(campaign=self.campaign), number)
        person = self.people[number % len(self.people)]
        campaign = Campaign.objects.get(pk=self.campaign.pk)
        match act:
            case "decide" if work_item:
                self.decide(work_item, value)
            case "sign":
                drafted = self.pick(WorkItem.objects.filter(item__campaign=self.campaign, state="responded"), number)
                make.sign(campaign, drafted.reviewer if drafted else person)
            case "undo" if work_item:
                reviews.undo_decision(actor=make.acting(work_item.reviewer), work_item=work_item)
            case "recuse" if work_item:
                reviews.recuse_work_item(actor=make.acting(work_item.reviewer), work_item=work_item, reason="No.")
            case "reassign" if work_item:
                reviews.reassign_work_item(actor=self.owner, work_item=work_item, to=person, note="You.")
            case "escalate" if work_item:
                reviews.escalate(CLOCK, work_item, because="no answer")
            case "retry":
                reviews.retry_assignment(actor=self.owner, campaign=campaign)
            case "time_over":
                reviews.settle_unanswered(CLOCK, item)
            case "stake":
                Server.objects.filter(pk=self.server.pk).update(submitted_by=person)
            case "facts":
                self.server.endpoints.update(canonical_uri=f"https://elsewhere{number}.example.test/mcp")
                reviews.sweep_items()
            case "confirm" if work_item:
                seen = evidence_of(work_item.item.subject).evidence_hash
                reviews.confirm_facts(actor=make.acting(work_item.reviewer), work_item=work_item, evidence_hash=seen)
            case "vanish":
                security = make.acting(make.person("security"))
                trust.revoke_relationship(actor=security, relationship=self.grant, reason="Gone")
                reviews.sweep_items()
            case "settle":
                reviews.settle_campaigns()
            case "late":
                with clock.at(clock.now() + timedelta(days=100)):
                    self.decide(work_item, value) if work_item else None
            case "close":
                reviews.close_campaign(
                    actor=self.owner, campaign=campaign, statement="Complete.", auth_method="password"
                )
            case "cancel" if number % 5 == 0:
                reviews.cancel_campaign(actor=self.owner, campaign=campaign, reason="Enough")
            case "accept":
                auditor = make.acting(make.person("auditor"))
                reviews.accept_campaign(
                    actor=auditor, campaign=campaign, statement="I rely on it.", auth_method="password"
                )

    def decide(self, work_item: WorkItem, value: str) -> None:
        more = {"kept": ["query"]} if value == "certify_reduced" else {}
        if value == "certify_until":
            more = {"until": clock.today() + timedelta(days=5)}
        reviews.note_opened(actor=make.acting(work_item.reviewer), work_item=work_item)
        reviews.save_decision(
            actor=make.acting(work_item.reviewer),
            work_item=work_item,
            value=value,
            reason="Because.",
            evidence_hash=Item.objects.get(pk=work_item.item_id).seen.evidence_hash,
            **more,
        )

    def states(self) -> dict[tuple[Machine, object], str]:
        rows = (
            (CAMPAIGN, Campaign.objects.filter(pk=self.campaign.pk)),
            (ITEM, Item.objects.filter(campaign=self.campaign)),
            (WORK_ITEM, WorkItem.objects.filter(item__campaign=self.campaign)),
        )
        return {
            (machine.name, pk): (machine, state)
            for machine, queryset in rows
            for pk, state in queryset.values_list("pk", "state")
        }


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(walk=steps, strategy=strategies, seats=st.integers(1, 2))
def test_a_random_walk(walk, strategy, seats):
    there = Walk(strategy, seats)
    before, signed = there.states(), {}
    ways = ["certify", "revoke", "certify_until"]
    home = [(act, ways[number % 3 if number % 5 == 0 else 0], number) for number, act in enumerate(HOMEWARD)]
    for act, value, number in [*walk, *home]:
        with suppress(RegistryError):  # Refused is fine. What a refusal must not do is move something.
            there.act(act, value, number)
        after = there.states()
        for key, (machine, state) in after.items():
            was = before.get(key, (machine, state))[1]
            assert state in reachable(machine, was), f"{act} moved a {key[0]} from {was} to {state}"
            if not machine.moves.get(was):
                assert state == was, f"{act} moved a {key[0]} out of {was}"
        before = after
        signed = check_decisions(there, signed)
    check_events(there)
    check_ends(there)


def check_decisions(there: Walk, known: dict) -> dict:
    """Signed decisions never change, and nobody signs the same item twice (invariants 2 and 4)."""
    found = {}
    decided: set[tuple[object, object]] = set()
    for decision in Decision.objects.filter(
        work_item__item__campaign=there.campaign, signed_at__isnull=False
    ).select_related("work_item"):
        found[decision.pk] = (decision.value, tuple(decision.kept), decision.until, decision.reason, decision.signed_at)
        who = (decision.work_item.item_id, decision.work_item.reviewer_id)
        assert who not in decided, "somebody decided the same item twice"
        decided.add(who)
    assert known.items() <= found.items()
    return found


def check_events(there: Walk) -> None:
    """Every single step that left evidence is one of the table's."""
    items = list(Item.objects.filter(campaign=there.campaign).values_list("pk", flat=True))
    for machine, kind, subjects in ((ITEM, "item", items), (CAMPAIGN, "campaign", [there.campaign.pk])):
        for event in Event.objects.filter(subject_type=kind, subject_id__in=subjects):
            _, _, after = event.act.partition(".")
            if after in {state for moves in machine.moves.values() for state in moves} and "before" in event.data:
                assert machine.allows(event.data["before"], after), event.act


def check_ends(there: Walk) -> None:
    """What is over holds nothing open, and what is open is in somebody's hands or said to be in nobody's."""
    for item in Item.objects.filter(campaign=there.campaign):
        held = item.work_items.exclude(state="closed").exists()
        if item.state not in OPEN_ITEM:
            assert not held, f"{item.state} but still to be answered"
        elif item.state == "in_review":
            assert held, "in review in nobody's hands"
    campaign = Campaign.objects.get(pk=there.campaign.pk)
    if campaign.state not in ("active", "staged"):
        assert not campaign.items.filter(state__in=OPEN_ITEM).exists()
