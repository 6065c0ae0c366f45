"""Facts that move under a certificate or under a review: what ends, what must be seen again, and who hears of it."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from registry.accounts.models import User
from registry.catalog import services as catalog
from registry.catalog.models import Agent, Server, System
from registry.core import clock
from registry.core.canonical import digest
from registry.core.errors import NotAllowed
from registry.reviews import services as reviews
from registry.reviews.drift import touched_by
from registry.reviews.facts import evidence_of
from registry.reviews.models import Certificate, Decision, EvidenceBlock, Item, ItemRefresh, Letter, Trigger
from registry.reviews.services.watch import check_items
from registry.trust import services as trust
from tests import factories as make

pytestmark = pytest.mark.django_db
KINDS = ["server", "grant", "connection", "agent"]
TOOLS = [
    {"name": "query", "description": "Runs a query.", "confirmed_class": "read"},
    {"name": "export", "description": "Writes a file.", "confirmed_class": "write"},
]


@pytest.fixture
def reviewer() -> User:
    return make.person("reviewer", name="Rita Reviewer")


@pytest.fixture
def estate():
    """A server in a team, its connection with scopes, an agent of another team, and the agent's grant."""
    server = make.active_server(title="Warehouse SQL")
    connection = make.connection(server=server, access="write", scopes=["orders", "stock"])
    grant = make.grant(server=server, tools=["query"])
    return {"server": server, "connection": connection, "grant": grant, "agent": grant.agent}


@pytest.fixture
def items(estate, reviewer):
    campaign = make.campaign(reviewer, kinds=KINDS)
    assert campaign.state == "active", campaign.state_reason
    return {item.kind: item for item in campaign.items.all()}


@pytest.fixture
def certified(estate, items, reviewer):
    """The same, each with a certificate; nothing open any more."""
    for item in items.values():
        make.decide(item)
    make.sign(items["server"].campaign, reviewer)
    assert Certificate.objects.filter(ended_at=None).count() == 4
    assert reviews.end_stale_certificates() == 0
    return estate


def ended() -> dict[str, str]:
    return dict(Certificate.objects.exclude(ended_at=None).values_list("kind", "ended_because"))


# --- Material changes, each with what it ends -------------------------------------------------------------


def another_tool(estate):
    by = make.acting(estate["server"].owner)
    catalog.set_tools(
        actor=by, server=estate["server"], tools=[*TOOLS, {"name": "purge", "confirmed_class": "destructive"}]
    )


def another_definition(estate):
    changed = [{**TOOLS[0], "description": "Runs a query, and tells somebody."}, TOOLS[1]]
    catalog.set_tools(actor=make.acting(estate["server"].owner), server=estate["server"], tools=changed)


def another_class(estate):
    changed = [{**TOOLS[0], "confirmed_class": "execute"}, TOOLS[1]]
    catalog.set_tools(actor=make.acting(estate["server"].owner), server=estate["server"], tools=changed)


def another_secret_source(estate):
    catalog.set_secret_sources(
        actor=make.acting(estate["server"].owner), server=estate["server"],
        sources=[{"kind": "vault", "reference": "kv/data/elsewhere", "credential_type": "static"}],
    )  # fmt: skip


def fewer_scopes(estate):
    """Not by a sign-off, which would carry the certificates over."""
    type(estate["connection"]).objects.filter(pk=estate["connection"].pk).update(scopes=["orders"])


def another_owner(estate):
    Server.objects.filter(pk=estate["server"].pk).update(owner=make.person(name="Nia New"))


def another_operator(estate):
    Server.objects.filter(pk=estate["server"].pk).update(operator=make.person(name="Olaf Operator"))


def another_system(estate):
    make.connection(server=estate["server"], system=make.system(name="Ledger"))


def other_data(estate):
    system = estate["connection"].system
    catalog.update_system(actor=make.acting(system.owner), system=system, data_class="restricted")


def another_owner_of_the_system(estate):
    System.objects.filter(pk=estate["connection"].system_id).update(owner=make.person())


def another_owner_of_the_agent(estate):
    Agent.objects.filter(pk=estate["agent"].pk).update(owner=make.person())


def another_identity(estate):
    Agent.objects.filter(pk=estate["agent"].pk).update(spiffe_id="spiffe://example.test/agents/another")


def another_grant(estate):
    make.grant(agent=estate["agent"], server=make.active_server())


def all_tools(estate):
    type(estate["grant"]).objects.filter(pk=estate["grant"].pk).update(tools=[], all_tools=True)


MATERIAL = [
    (another_tool, {"server"}),
    (another_definition, {"server", "grant"}),
    (another_class, {"server", "grant"}),
    (another_secret_source, {"server"}),
    (fewer_scopes, {"server", "grant", "connection"}),
    (another_owner, {"server"}),
    (another_operator, {"server"}),
    (another_system, {"server", "grant"}),
    (other_data, {"server", "grant", "connection"}),
    (another_owner_of_the_system, {"connection"}),
    (another_owner_of_the_agent, {"grant", "agent"}),
    (another_identity, {"grant", "agent"}),
    (another_grant, {"agent"}),
    (all_tools, {"grant", "agent"}),
]


class TestMaterialChange:
    """Invariant 10: certification ends with the facts it was about, and a review of the new ones is called for."""

    @pytest.mark.parametrize(("change", "kinds"), MATERIAL, ids=lambda value: getattr(value, "__name__", ""))
    def test_ends_certification_and_calls_for_a_review(self, certified, change, kinds):
        change(certified)
        assert reviews.end_stale_certificates() == len(kinds)
        assert ended() == dict.fromkeys(kinds, "The certified facts changed.")
        for kind in kinds:
            certified[kind].refresh_from_db()
            assert certified[kind].certified_until is None
        triggers = {trigger.kind: trigger for trigger in Trigger.objects.all()}
        assert triggers.keys() == kinds
        for kind, trigger in triggers.items():
            assert (trigger.cause, trigger.subject, trigger.handled_at) == ("facts_changed", certified[kind], None)
            assert trigger.detail, "what changed, in words"
        for kind in set(KINDS) - kinds:
            assert Certificate.objects.get(**{kind: certified[kind]}).ended_at is None
        assert reviews.end_stale_certificates() == 0, "once"
        assert Trigger.objects.count() == len(kinds)

    def test_says_what_changed(self, certified):
        another_tool(certified)
        reviews.end_stale_certificates()
        assert Trigger.objects.get().detail == "+ Tool purge: Destructive"

    def test_of_what_is_under_review_again_is_absorbed_by_that_item(self, certified, reviewer):
        make.campaign(reviewer, kinds=["server"])
        another_tool(certified)
        reviews.end_stale_certificates()
        trigger = Trigger.objects.get()
        assert trigger.absorbed_by == Item.objects.get(server=certified["server"], state__in=["in_review"])

    def test_is_no_rotation_rename_suspension_or_use_by_others(self, certified):
        server, connection = certified["server"], certified["connection"]
        security = make.acting(make.person("security"))
        server.secret_sources.update(last_rotated_on=clock.today(), verified_at=clock.now())
        catalog.update_identity(actor=make.acting(server.owner), server=server, title="Else", description="Else")
        catalog.update_system(actor=make.acting(connection.system.owner), system=connection.system, name="Renamed")
        User.objects.filter(pk=server.owner_id).update(name="Married Name", is_active=False)
        Agent.objects.filter(pk=certified["agent"].pk).update(name="Renamed", description="Else", certified_until=None)
        make.grant(server=server)
        make.requested_connection(server=server)
        catalog.suspend_server(actor=security, server=server, reason="Incident")
        trust.suspend_relationship(actor=security, relationship=connection, reason="Incident")
        assert reviews.end_stale_certificates() == 0
        with clock.at(clock.now() + timedelta(days=3)):
            assert reviews.end_stale_certificates() == 0
        assert not Trigger.objects.exists()

    def test_what_ended_or_ran_out_is_no_changed_fact(self, certified, monkeypatch):
        trust.revoke_relationship(
            actor=make.acting(make.person("security")), relationship=certified["grant"], reason="Gone"
        )
        reviews.recheck(kind="grant", id=certified["grant"].pk)
        assert ended() == {"grant": "What it certified is no longer in place.", "agent": "The certified facts changed."}
        assert [trigger.kind for trigger in Trigger.objects.all()] == ["agent"]
        with clock.at(clock.now() + timedelta(days=400)):
            assert reviews.end_stale_certificates() == 2
        assert ended()["server"] == "Its time was over."
        assert Trigger.objects.count() == 1

    def test_is_the_systems_to_notice(self, certified):
        with pytest.raises(NotAllowed):
            reviews.end_stale_certificates(actor=make.acting(make.person()))
        with pytest.raises(NotAllowed):
            check_items(item_ids=[], actor=make.acting(make.person()))


class TestNoticing:
    """By its message at once; without it within a minute."""

    @pytest.mark.parametrize(
        ("change", "of"),
        [
            (another_tool, "server"),
            (other_data, "system"),
            (another_owner_of_the_agent, "agent"),
            (another_system, "connection"),
            (another_grant, "grant"),
        ],
    )
    def test_by_the_message_of_the_change(self, certified, change, of):
        change(certified)
        things = {**certified, "system": certified["connection"].system}
        if of in ("connection", "grant"):
            things[of] = type(certified[of]).objects.order_by("created_at").last()
        found = reviews.recheck(kind=of, id=things[of].pk)
        assert found == len(ended()) > 0
        assert reviews.end_stale_certificates() == 0, "nothing was overlooked"

    @pytest.mark.parametrize("change", [another_tool, other_data, another_system, another_grant, another_secret_source])
    def test_by_what_moved_lately_when_the_message_was_lost(self, certified, change):
        with clock.at(clock.now() + timedelta(hours=1)):
            assert reviews.sweep_touched() == 0, "nothing moved in the last minutes"
            change(certified)
        with clock.at(clock.now() + timedelta(hours=1, seconds=45)):
            assert reviews.sweep_touched() == len(ended()) > 0
            assert reviews.end_stale_certificates() == 0

    def test_an_item_under_review_is_noticed_as_well(self, estate, items):
        with clock.at(clock.now() + timedelta(hours=1)):
            another_definition(estate)
            assert reviews.sweep_touched() == 2
        states = {item.kind: item.state for item in Item.objects.all()}
        assert states == {
            "server": "invalidated",
            "grant": "invalidated",
            "connection": "in_review",
            "agent": "in_review",
        }

    def test_beat_looks_twice_a_minute(self):
        from registry.reviews.tasks import BEAT, sweep_touched_facts

        entry = next(entry for entry in BEAT.values() if entry["task"] == sweep_touched_facts.name)
        assert entry["schedule"] <= 30
        sweep_touched_facts.run()

    def test_only_what_moved_is_loaded(self, certified, reviewer):
        def queries():
            with CaptureQueriesContext(database) as captured:
                reviews.sweep_items()
                reviews.end_stale_certificates()
            return len(captured)

        make.campaign(reviewer, kinds=["grant"])
        before = queries()
        for _ in range(3):
            make.grant(server=certified["server"])
        make.campaign(reviewer, kinds=["grant"], name="More")
        assert queries() == before

    def test_nothing_else_has_facts(self):
        with pytest.raises(ValueError, match="no facts"):
            touched_by("team", make.team().pk)


class TestItemsUnderReview:
    def test_of_every_kind_must_be_seen_again(self, estate, items, reviewer):
        other_data(estate)
        another_owner_of_the_agent(estate)
        assert reviews.sweep_items() == 4
        for kind, item in items.items():
            item.refresh_from_db()
            assert item.state == "invalidated"
            now = evidence_of(estate[kind])
            reviews.confirm_facts(
                actor=make.acting(reviewer), work_item=make.work_of(item), evidence_hash=now.evidence_hash
            )
            item.refresh_from_db()
            assert (item.state, item.seen.fingerprint) == ("in_review", now.fingerprint)
        assert reviews.sweep_items() == 0

    def test_of_every_kind_vanish_with_what_they_are_about(self, estate, items):
        security = make.acting(make.person("security"))
        for kind in ("grant", "connection"):
            trust.revoke_relationship(actor=security, relationship=estate[kind], reason="Gone")
        catalog.retire_agent(actor=make.acting(estate["agent"].owner), agent=estate["agent"], reason="Gone")
        catalog.retire_server(actor=security, server=estate["server"], reason="Gone")
        assert reviews.sweep_items() == 4
        assert set(Item.objects.values_list("state", flat=True)) == {"obsolete"}
        assert not items["server"].work_items.exclude(state="closed").exists()
        assert not Letter.objects.filter(key__startswith="changed").exists()

    def test_lose_their_drafts(self, estate, items):
        for item in items.values():
            make.decide(item)
        another_definition(estate)
        assert reviews.sweep_items() == 2
        assert set(Decision.objects.values_list("work_item__item__kind", flat=True)) == {"connection", "agent"}
        assert {make.work_of(items[kind]).state for kind in ("server", "grant")} == {"open"}

    def test_their_reviewer_gets_one_letter_about_all_of_them(self, estate, items, reviewer):
        another_definition(estate)
        reviews.sweep_items()
        letter = Letter.objects.get(key__startswith="changed")
        assert (letter.to, letter.campaign) == (reviewer, items["server"].campaign)
        assert letter.subject == f"The facts of 2 reviews changed in {letter.campaign.name}"
        for kind in ("server", "grant"):
            assert items[kind].label in letter.text
        assert items["connection"].label not in letter.text
        reviews.sweep_items()
        assert Letter.objects.filter(key__startswith="changed").count() == 1

    def test_the_next_change_is_told_again(self, estate, items, reviewer):
        another_definition(estate)
        reviews.sweep_items()
        item = items["server"]
        now = evidence_of(estate["server"])
        reviews.confirm_facts(
            actor=make.acting(reviewer), work_item=make.work_of(item), evidence_hash=now.evidence_hash
        )
        another_tool(estate)
        reviews.sweep_items()
        assert Letter.objects.filter(key__startswith="changed", to=reviewer).count() == 2

    def test_before_the_campaign_runs_nobody_is_told(self, estate, reviewer):
        campaign = make.campaign(reviewer, kinds=["server"])
        type(campaign).objects.filter(pk=campaign.pk).update(state="staged")
        another_tool(estate)
        assert reviews.sweep_items() == 1
        assert not Letter.objects.filter(key__startswith="changed").exists()

    def test_somebody_who_left_gets_no_letter(self, estate, items, reviewer):
        User.objects.filter(pk=reviewer.pk).update(is_active=False)
        another_tool(estate)
        assert reviews.sweep_items() == 1
        assert not Letter.objects.filter(key__startswith="changed").exists()


class TestFrozen:
    """Invariant 1: what was frozen stays; later facts stand beside it, never over it."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_database_refuses_to_change_any_part_of_it(self, items, kind):
        row = Item.objects.filter(pk=items[kind].pk)
        other = EvidenceBlock.objects.create(digest="0" * 64, text="{}")
        for change in ({"snapshot": {}}, {"fingerprint": "f" * 64}, {"evidence_hash": "f" * 64}, {"block": other}):
            with pytest.raises(DatabaseError), transaction.atomic():
                row.update(**change)

    def test_the_database_keeps_the_block_and_what_was_seen_later(self, estate, items, reviewer):
        another_tool(estate)
        reviews.sweep_items()
        now = evidence_of(estate["server"])
        refresh = reviews.confirm_facts(
            actor=make.acting(reviewer), work_item=make.work_of(items["server"]), evidence_hash=now.evidence_hash
        )
        blocks = EvidenceBlock.objects.filter(pk__in=[items["server"].block_id, refresh.block_id])
        for rows, change in ((blocks, {"text": "{}"}), (ItemRefresh.objects.all(), {"fingerprint": "f" * 64})):
            with pytest.raises(DatabaseError), transaction.atomic():
                rows.update(**change)
            with pytest.raises(DatabaseError), transaction.atomic():
                rows._raw_delete(rows.db)

    def test_the_hashes_hold_for_what_is_stored_and_cover_the_block(self, estate, items):
        for kind, item in items.items():
            assert item.fingerprint == digest(item.snapshot["facts"])
            assert item.evidence_hash == digest(item.snapshot)
            assert item.block_id == item.snapshot["context"].get("block")
            if kind != "agent":
                assert digest(item.block.body) == item.block_id
            assert item.rests_on_id == (estate["server"].pk if kind != "agent" else None)
            assert item.evidence == evidence_of(estate[kind]).evidence

    def test_later_facts_stand_beside_it(self, estate, items, reviewer):
        item = items["grant"]
        then = (item.snapshot, item.evidence, item.fingerprint, item.evidence_hash)
        another_definition(estate)
        catalog.update_identity(actor=make.acting(estate["server"].owner), server=estate["server"], title="Renamed")
        reviews.sweep_items()
        now = evidence_of(estate["grant"])
        reviews.confirm_facts(
            actor=make.acting(reviewer), work_item=make.work_of(item), evidence_hash=now.evidence_hash
        )
        fresh = Item.objects.get(pk=item.pk)
        assert (fresh.snapshot, fresh.evidence, fresh.fingerprint, fresh.evidence_hash) == then
        assert fresh.evidence["context"]["server"]["label"] == "Warehouse SQL"
        assert fresh.seen.evidence == now.evidence
        assert fresh.seen.evidence["context"]["server"]["label"] == "Renamed"
