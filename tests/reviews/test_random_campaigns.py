"""Random campaigns: owners, teams and facts change, people come, go and decide, the clock jumps, sweeps run or do not.

After every step the invariants of docs/invariants.md are asked of the tables, in SQL written here and nowhere else.
"""

from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from registry.accounts import services as accounts
from registry.accounts.models import Team
from registry.audit.queries import verify_log
from registry.audit.services import seal_events
from registry.catalog import services as catalog
from registry.catalog.models import Agent, Server
from registry.core import clock
from registry.core.errors import RegistryError
from registry.reviews import services as reviews
from registry.reviews.facts import evidence_of, reducible
from registry.reviews.models import AutomaticAction, Campaign, Decision, Item, Remediation, WorkItem
from registry.reviews.states import OPEN_ITEM, SETTLED
from registry.trust import services as trust
from registry.trust.models import Connection, Grant
from tests import factories as make

some = st.integers(0, 999)
values = st.sampled_from(["certify", "certify", "certify_until", "certify_reduced", "revoke", "not_decided"])
stakes = st.sampled_from(["owner", "deputy", "operator", "created_by", "submitted_by"])
SWEEPS = ("facts", "ladder", "triggers", "campaigns", "remediations", "absences", "departures")
START = datetime(2030, 1, 7, 9, tzinfo=UTC)
JUMPS = (0, 1, 3, 8, 15, 31)


def rows(sql: str) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def none(sql: str, what: str) -> None:
    found = rows(sql)
    assert not found, f"{what}: {found}"


# Everybody who has a stake in what an item is about, read from the tables without any code of the product.
INTERESTED = """
    SELECT item.id AS item, stake.person
    FROM reviews_item item
    JOIN reviews_campaign campaign ON campaign.id = item.campaign_id
    LEFT JOIN trust_grant granted ON granted.id = item.grant_id
    LEFT JOIN trust_connection linked ON linked.id = item.connection_id
    LEFT JOIN catalog_server server ON server.id = coalesce(item.server_id, granted.server_id, linked.server_id)
    LEFT JOIN catalog_agent agent ON agent.id = coalesce(item.agent_id, granted.agent_id)
    LEFT JOIN catalog_server behind ON behind.id = agent.server_id
    CROSS JOIN LATERAL unnest(ARRAY[
        campaign.owner_id, granted.requested_by_id, linked.requested_by_id, agent.owner_id, agent.created_by_id,
        server.owner_id, server.deputy_id, server.operator_id, server.created_by_id, server.submitted_by_id,
        behind.owner_id, behind.deputy_id, behind.operator_id, behind.created_by_id, behind.submitted_by_id
    ]) stake(person)
    WHERE stake.person IS NOT NULL
"""


class Estate(RuleBasedStateMachine):
    """One server with a grant and a connection, five reviewers and a campaign over it; changes make more campaigns."""

    def __init__(self) -> None:
        super().__init__()
        self.undone = transaction.atomic()
        self.undone.__enter__()
        self.now = START

    def teardown(self) -> None:
        try:
            if hasattr(self, "campaign"):
                seal_events()
                assert verify_log().fault == "", "what happened can no longer be proven (invariant 18)"
        finally:
            transaction.set_rollback(True)
            self.undone.__exit__(None, None, None)

    @initialize(
        strategy=st.sampled_from(["one_deny_denies", "all_must_certify", "first_valid_decides", "by_tier"]),
        first_rule=st.sampled_from(["pool", "team_lead", "both_sides"]),
        tier=st.sampled_from(["low", "medium", "high", "critical"]),
        seats=st.integers(1, 2),
        stages=st.integers(1, 2),
        challenge_days=st.sampled_from([0, 3]),
    )
    def launch(self, **drawn):
        with clock.at(self.now):
            self.set_up(**drawn)

    def set_up(self, strategy, first_rule, tier, seats, stages, challenge_days):
        self.people = [make.person("reviewer", name=f"Reviewer {number}") for number in range(5)]
        self.administrator = make.acting(make.person("administrator"))
        self.security = make.acting(make.person("security"))
        self.team = make.team(*self.people, lead=self.people[4])
        # One of them has a stake from the start: whoever hands things on at random soon meets somebody barred.
        self.server = make.active_server(in_team=self.team, deputy=self.people[3])
        make.override_tier(self.server, tier)
        self.agent = make.agent()
        self.grant = make.grant(server=self.server, agent=self.agent)
        self.connection = make.connection(server=self.server, access="write", scopes=["orders", "stock"])
        stage = {
            "reviewers": self.people, "reviewer_rule": first_rule, "fallback": ["pool"] if first_rule != "pool" else [],
            "reviewers_per_item": seats, "strategy": strategy,
        }  # fmt: skip
        self.campaign = make.campaign(
            kinds=["server", "grant", "connection", "agent"],
            stages=[stage, {**stage, "reviewer_rule": "pool", "fallback": [], "reviewers_per_item": 1}][:stages],
            challenge_days=challenge_days,
        )
        self.owner = make.acting(self.campaign.owner)
        self.frozen: dict = {}
        self.signed: dict = {}
        self.answers: dict = {}
        self.hands: dict = {}
        self.counts: dict = {}
        self.completed: set = set()

    # --- What may happen ---------------------------------------------------------------------------------

    def pick(self, queryset, number):
        found = list(queryset.order_by("pk"))
        return found[number % len(found)] if found else None

    def held(self, number, *states) -> WorkItem | None:
        return self.pick(WorkItem.objects.filter(state__in=states or ("open", "responded")), number)

    def attempt(self, act, **facts) -> None:
        """Refused is fine, a database error is not; what a refusal must not do is what the invariants look at."""
        self.now += timedelta(minutes=1)
        with clock.at(self.now), suppress(RegistryError):
            act(**facts)

    def review_goes_on(self) -> None:
        """When all is decided the next campaign over the same things begins, so that a walk has work for a while."""
        if Campaign.objects.count() > 3 or Item.objects.filter(state__in=OPEN_ITEM).exists():
            return
        self.now += timedelta(days=1)
        with clock.at(self.now):
            template, period = self.campaign.template, f"Review {Campaign.objects.count()}"
            self.campaign = reviews.launch_campaign(actor=self.administrator, template=template, period=period)
            reviews.generate_items(campaign_id=self.campaign.pk)
            self.campaign.refresh_from_db()
        self.owner = make.acting(self.campaign.owner)

    def decide(self, held: WorkItem, value: str) -> None:
        by = make.acting(held.reviewer)
        if held.item.state == "invalidated":
            seen = evidence_of(held.item.subject).evidence_hash
            reviews.confirm_facts(actor=by, work_item=held, evidence_hash=seen)
        more = {"until": clock.today() + timedelta(days=5)} if value == "certify_until" else {}
        if value == "certify_reduced":
            more = {"kept": reducible(Item.objects.get(pk=held.item_id).seen.snapshot)[:-1]}
        reviews.note_opened(actor=by, work_item=held)
        reviews.save_decision(
            actor=by, work_item=held, value=value, reason="Because.",
            evidence_hash=Item.objects.get(pk=held.item_id).seen.evidence_hash, **more,
        )  # fmt: skip

    def sign_what_is_drafted(self, number: int) -> None:
        if held := self.held(number, "responded"):
            self.attempt(lambda: make.sign(held.item.campaign, held.reviewer))

    @rule(value=values, number=some, sign=st.booleans())
    def somebody_decides(self, value, number, sign):
        self.review_goes_on()
        for place in range(1 + number % 3):
            if held := self.held(number + place, "open"):
                self.attempt(lambda held=held: self.decide(held, value))
        if sign:
            self.sign_what_is_drafted(number)

    @rule(value=values)
    def everybody_decides_and_signs(self, value):
        self.review_goes_on()
        for held in WorkItem.objects.filter(state="open").order_by("pk"):
            self.now += timedelta(minutes=2)
            self.attempt(lambda held=held: self.decide(held, value))
        for number in range(6):
            self.sign_what_is_drafted(number)

    @rule(how=st.sampled_from(["undo", "recuse", "delegate", "reassign", "away"]), number=some, to=some)
    def an_item_changes_hands(self, how, number, to):
        held, person = self.held(number), self.people[to % 5]
        if held is None:
            return
        by = make.acting(held.reviewer)
        match how:
            case "undo":
                self.attempt(reviews.undo_decision, actor=by, work_item=held)
            case "recuse":
                self.attempt(reviews.recuse_work_item, actor=by, work_item=held, reason="My cousin's.")
            case "delegate" | "reassign":
                by = by if how == "delegate" else self.owner
                self.attempt(reviews.reassign_work_item, actor=by, work_item=held, to=person, note="You.")
            case "away":
                first = timezone.localdate(self.now)
                self.attempt(
                    reviews.create_delegation, actor=by, delegator=held.reviewer, delegate=person, starts_on=first,
                    ends_on=first + timedelta(days=to % 9),
                )  # fmt: skip

    @rule(what=st.sampled_from(["server", "server", "agent", "asked"]), part=stakes, number=some)
    def something_becomes_somebodys(self, what, part, number):
        """Not by a service: whatever writes it, also a migration or a hand at the database, must not get around."""
        person = self.people[number % 5]
        match what:
            case "server" if part not in ("owner", "deputy") or person.pk not in self.accountable():
                Server.objects.filter(pk=self.server.pk).update(**{part: person})
            case "agent":
                Agent.objects.filter(pk=self.agent.pk).update(owner=person)
            case "asked":
                for model in (Grant, Connection):
                    model.objects.filter(server=self.server).update(requested_by=person)

    def accountable(self) -> set:
        return set(Server.objects.values_list("owner", "deputy").get(pk=self.server.pk))

    @rule(what=st.sampled_from(["leaves", "returns", "team", "owner"]), number=some)
    def people_come_and_go(self, what, number):
        person = self.people[number % 5]
        match what:
            case "leaves" | "returns":
                self.attempt(accounts.set_active, actor=self.administrator, user=person, active=what == "returns")
            case "team":
                members = [each for each in self.people if each != person]
                self.attempt(
                    accounts.set_team, actor=self.administrator, team=Team.objects.get(pk=self.team.pk),
                    lead=members[number % 4], members=members,
                )  # fmt: skip
            case "owner":
                Campaign.objects.filter(pk=self.campaign.pk).update(owner=person)
                self.owner = make.acting(person)

    @rule(number=some)
    def the_facts_change(self, number):
        tools = [
            {"name": "query", "description": f"Runs a query, {number}.", "confirmed_class": "read"},
            {"name": "export", "description": "Writes a file.", "confirmed_class": "write"},
        ]
        fresh = Server.objects.get(pk=self.server.pk)
        self.attempt(catalog.set_tools, actor=make.acting(fresh.owner), server=fresh, tools=tools)
        self.sweep("facts")

    @rule(days=st.sampled_from(JUMPS), which=st.sampled_from(SWEEPS))
    def time_passes_and_one_sweep_runs(self, days, which):
        self.now += timedelta(days=days, hours=1)
        self.sweep(which)

    @rule(days=st.sampled_from(JUMPS))
    def time_passes_and_every_sweep_runs(self, days):
        self.now += timedelta(days=days)
        for which in SWEEPS:
            self.sweep(which)

    def sweep(self, which: str) -> None:
        """As beat and its worker would, with the messages that reach them."""
        self.now += timedelta(minutes=1)
        with clock.at(self.now):
            match which:
                case "facts":
                    reviews.sweep_items()
                    reviews.end_stale_certificates()
                    trust.expire_due(now=self.now)
                case "ladder":
                    reviews.send_reminders(now=self.now)
                    reviews.sweep_ladders(now=self.now)
                case "triggers":
                    reviews.gather_triggers(now=self.now)
                    for campaign in Campaign.objects.filter(state="generating"):
                        reviews.generate_items(campaign_id=campaign.pk)
                case "campaigns":
                    reviews.settle_campaigns()
                    for campaign in Campaign.objects.filter(state="active"):
                        reviews.open_stage(campaign_id=campaign.pk)
                case "remediations":
                    reviews.follow_up(now=self.now)
                case "absences":
                    reviews.start_delegations(today=clock.today())
                case "departures":
                    reviews.notice_departures()

    @rule(what=st.sampled_from(["retry", "assign", "time", "time", "close", "close", "cancel"]), number=some, to=some)
    def whoever_runs_the_campaign_acts(self, what, number, to):
        waiting = Campaign.objects.filter(state__in=["staged", "active"])
        stuck = Item.objects.filter(state__in=["pending", "escalated"])
        match what:
            case "retry" if campaign := self.pick(waiting, number):
                self.attempt(reviews.retry_assignment, actor=self.administrator, campaign=campaign)
            case "assign" if item := self.pick(stuck, number):
                self.attempt(reviews.assign_reviewer, actor=self.administrator, item=item, to=self.people[to % 5])
            case "time":
                until = timezone.localdate(self.now) + timedelta(days=20)
                self.attempt(
                    reviews.extend_campaign, actor=self.owner, campaign=self.campaign, until=until, reason="Holidays."
                )
            case "close":
                self.attempt(
                    reviews.close_campaign, actor=self.owner, campaign=self.campaign, statement="All.",
                    auth_method="password",
                )  # fmt: skip
            case "cancel" if number % 10 == 9:
                self.attempt(reviews.cancel_campaign, actor=self.owner, campaign=self.campaign, reason="Enough.")

    @rule(what=st.sampled_from(["looks", "looks", "gives back", "takes away"]), number=some)
    def security_acts(self, what, number):
        gone = Remediation.objects.filter(state="verifying")
        suspended = AutomaticAction.objects.filter(state="done", kind="suspend")
        match what:
            case "looks" if row := self.pick(gone, number):
                self.attempt(
                    reviews.confirm_remediation, actor=self.security, remediation=row, proof="I tried.",
                    effective=number % 4 > 0,
                )  # fmt: skip
            case "gives back" if action := self.pick(suspended, number):
                self.attempt(reviews.restore_action, actor=self.security, action=action, reason="It is needed.")
            case "takes away" if number % 3 == 0:
                held = type(self.grant).objects.get(pk=self.grant.pk)
                self.attempt(trust.revoke_relationship, actor=self.security, relationship=held, reason="Odd calls.")

    # --- What always holds -------------------------------------------------------------------------------

    @invariant()
    def what_was_frozen_stays(self):
        """1, and 19: nothing of it goes."""
        found = dict(rows(
            "SELECT id, md5(concat_ws('|', snapshot::text, block_id, fingerprint, evidence_hash, kind, server_id, "
            "grant_id, connection_id, agent_id, campaign_id)) FROM reviews_item"
        ))  # fmt: skip
        assert self.frozen.items() <= found.items()
        self.frozen = found
        history = ("item", "workitem", "workitemmove", "signoff", "certificate", "populationentry", "remediation",
                   "ladderstep", "automaticaction", "itemrefresh", "trigger", "letter", "verification")  # fmt: skip
        each = [f"SELECT '{name}', count(*) FROM reviews_{name}" for name in history]  # noqa: S608
        counted = dict(rows(" UNION ALL ".join(each)))
        assert all(number >= self.counts.get(name, 0) for name, number in counted.items()), "history got shorter"
        self.counts = counted

    @invariant()
    def signed_decisions_stay(self):
        """2."""
        found = dict(rows("SELECT id, row_to_json(decision)::text FROM reviews_decision decision "
                          "WHERE signed_at IS NOT NULL"))  # fmt: skip
        assert self.signed.items() <= found.items()
        self.signed = found

    @invariant()
    def whoever_answers_signs_or_is_asked_has_no_stake(self):
        """3 and 16, for all that is new since the last step; a stake may come later. 7: and is not late."""
        barred = defaultdict(set)
        for item, person in rows(INTERESTED):
            barred[item].add(person)
        hands = {
            pk: (item, person) for pk, item, person in rows("SELECT id, item_id, reviewer_id FROM reviews_workitem")
        }
        for pk, (item, person) in hands.items():
            if self.hands.get(pk) != (item, person):
                assert person not in barred[item], "somebody was asked about what is theirs"
        self.hands = hands
        answers = {}
        for pk, item, person, decided_at, signed_at, due_at in rows(
            "SELECT decision.id, work.item_id, work.reviewer_id, decided_at, decision.signed_at, item.due_at "
            "FROM reviews_decision decision JOIN reviews_workitem work ON work.id = decision.work_item_id "
            "JOIN reviews_item item ON item.id = work.item_id"
        ):
            answers[pk] = (decided_at, signed_at)
            if self.answers.get(pk) != answers[pk]:
                assert person not in barred[item], "somebody decided on what is theirs"
                assert max(decided_at, signed_at or decided_at) <= due_at, "a late answer was taken"
        self.answers = answers

    @invariant()
    def nobody_decides_twice(self):
        """4."""
        none(
            "SELECT item_id, reviewer_id FROM reviews_workitem GROUP BY 1, 2 HAVING count(*) > 1",
            "the same person was asked twice",
        )

    @invariant()
    def counts_tie_out(self):
        """5 and 6: in scope is what became an item or says why not; what is under review is in somebody's hands."""
        none(
            """
            SELECT campaign.id FROM reviews_campaign campaign WHERE state <> 'generating' AND
            (SELECT count(*) FROM reviews_populationentry entry WHERE entry.campaign_id = campaign.id) <>
            (SELECT count(*) FROM reviews_populationentry entry
             WHERE entry.campaign_id = campaign.id AND excluded_because <> '')
            + (SELECT count(*) FROM reviews_item item WHERE item.campaign_id = campaign.id)
            """,
            "the counts do not tie out",
        )
        none(
            """
            SELECT item.id FROM reviews_item item WHERE item.state = 'in_review' AND NOT EXISTS
            (SELECT FROM reviews_workitem work WHERE work.item_id = item.id AND work.state <> 'closed')
            """,
            "under review in nobody's hands",
        )

    @invariant()
    def every_item_is_open_or_has_one_outcome(self):
        """8: and what the clock did is nobody's."""
        none(
            "SELECT id, state, outcome FROM reviews_item WHERE (state IN ('pending', 'in_review', 'escalated', "
            "'invalidated', 'decided', 'obsolete', 'cancelled')) <> (outcome = '')",
            "an outcome too many or too few",
        )
        none(
            "SELECT work.id FROM reviews_workitem work JOIN reviews_item item ON item.id = work.item_id "
            "WHERE work.state <> 'closed' AND item.state NOT IN "
            "('pending', 'in_review', 'escalated', 'invalidated', 'decided')",
            "still to be answered although it is over",
        )
        none(
            "SELECT act, actor_kind FROM audit_event WHERE actor_kind <> 'system' AND "
            "act IN ('item.lapsed', 'automatic_action.done', 'automatic_action.held')",
            "the clock's act in somebody's name",
        )
        none(
            "SELECT certificate.id FROM reviews_certificate certificate "
            "JOIN reviews_decision decision ON decision.id = certificate.decision_id "
            "JOIN reviews_workitem work ON work.id = decision.work_item_id "
            "JOIN reviews_item item ON item.id = work.item_id WHERE item.state IN ('lapsed', 'revoked')",
            "certified by what nobody answered or what was revoked",
        )

    @invariant()
    def only_signatures_certify(self):
        """9 and 10's mirror: a thing shows no date that no certificate of it gave."""
        none(
            "SELECT certificate.id FROM reviews_certificate certificate "
            "JOIN reviews_decision decision ON decision.id = certificate.decision_id "
            "WHERE decision.signed_at IS NULL OR decision.value NOT IN ('certify', 'certify_reduced', 'certify_until')",
            "a certificate without a signed decision that keeps something",
        )
        for table, kind in (("catalog_server", "server"), ("catalog_agent", "agent"), ("trust_grant", "grant"),
                            ("trust_connection", "connection")):  # fmt: skip
            none(
                f"SELECT thing.id FROM {table} thing WHERE thing.certified_until IS NOT NULL AND NOT EXISTS "  # noqa: S608
                f"(SELECT FROM reviews_certificate certificate WHERE certificate.{kind}_id = thing.id "
                "AND certificate.certified_until = thing.certified_until)",
                f"a {kind} with a date of its own",
            )

    @invariant()
    def completed_means_settled(self):
        """11: at the moment it is completed; what is seen again later opens a review of its own."""
        for pk in Campaign.objects.filter(state__startswith="completed").values_list("pk", flat=True):
            if pk not in self.completed:
                states = set(Remediation.objects.filter(item__campaign=pk).values_list("state", flat=True))
                assert states <= set(SETTLED)
                self.completed.add(pk)

    @invariant()
    def reductions_keep_a_strict_part(self):
        """12."""
        for decision in Decision.objects.filter(value="certify_reduced").select_related("work_item__item"):
            possible = set(reducible(decision.work_item.item.seen.snapshot))
            if decision.signed_at is None:
                assert set(decision.kept) < possible
            assert decision.kept

    @invariant()
    def one_open_review_per_subject(self):
        """14 and 15."""
        none(
            "SELECT coalesce(server_id, grant_id, connection_id, agent_id), count(*) FROM reviews_item "
            "WHERE state IN ('pending', 'in_review', 'escalated', 'invalidated', 'decided') "
            "GROUP BY 1 HAVING count(*) > 1",
            "reviewed twice at once",
        )
        none(
            "SELECT work_item_id, rung FROM reviews_ladderstep GROUP BY 1, 2 HAVING count(*) > 1",
            "a rung climbed twice",
        )
        none(
            "SELECT item_id, kind, due_at FROM reviews_automaticaction WHERE state <> 'dropped' "
            "GROUP BY 1, 2, 3 HAVING count(*) > 1",
            "the clock did the same twice",
        )


@pytest.mark.django_db
def test_a_campaign_keeps_its_promises_whatever_happens():
    run_state_machine_as_test(
        Estate,
        settings=settings(
            max_examples=8,
            stateful_step_count=20,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
