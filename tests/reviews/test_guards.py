"""What the database refuses whatever the code does: the last guard behind the invariants (docs/invariants.md)."""

from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction

from registry.accounts.models import User
from registry.catalog.models import Agent, Server
from registry.core import clock
from registry.core.actors import Actor
from registry.reviews import services as reviews
from registry.reviews.models import (
    AutomaticAction,
    Campaign,
    Certificate,
    Decision,
    Item,
    Letter,
    PopulationEntry,
    Remediation,
    SignOff,
    Template,
    Trigger,
    WorkItem,
)
from registry.trust.models import Connection, Grant
from tests import factories as make

pytestmark = pytest.mark.django_db
KINDS = ("server", "grant", "connection", "agent")


@contextmanager
def refused(words: str):
    """The statement inside is refused by the guard that says so, and by no other."""
    with pytest.raises(DatabaseError, match=words), transaction.atomic():
        yield


@pytest.fixture
def reviewer() -> User:
    return make.person("reviewer", name="Rita Reviewer")


@pytest.fixture
def estate(reviewer):
    """One subject of each kind, and an active campaign over them."""
    server = make.active_server()
    grant, link = make.grant(server=server), make.connection(server=server)
    campaign = make.campaign(reviewer, kinds=list(KINDS))
    assert campaign.state == "active", campaign.state_reason
    return campaign, {"server": server, "grant": grant, "connection": link, "agent": grant.agent}


@pytest.fixture
def item(reviewer) -> Item:
    make.active_server()
    return make.campaign(reviewer, kinds=["server"]).items.get()


@pytest.fixture
def staged() -> Campaign:
    """Nobody independent is there for its only item."""
    owner = make.person("reviewer")
    make.active_server(owner=owner)
    made = make.campaign(owner, kinds=["server"])
    assert made.state == "staged"
    return made


@pytest.fixture
def remediating(reviewer) -> Campaign:
    """A revoked grant that nobody has seen to be gone yet."""
    make.grant()
    campaign = make.campaign(reviewer, kinds=["grant"])
    make.decide(campaign.items.get(), "revoke")
    make.sign(campaign, reviewer)
    return reviews.close_campaign(
        actor=make.acting(campaign.owner), campaign=campaign, statement="Complete.", auth_method="password"
    )


def same(model, row):
    return model.objects.filter(pk=row.pk)


def test_an_item_stays_about_what_was_frozen(item):
    """Invariant 1: not only the facts, also whose facts they are."""
    with refused("Cannot update"):
        same(Item, item).update(server=make.active_server())


class TestPopulation:
    """Invariant 5."""

    def test_nobody_is_put_in_the_place_of_another(self, item):
        entry = item.campaign.population.get()
        for change in ({"server": make.active_server()}, {"position": 7}):
            with refused("Cannot update"):
                same(PopulationEntry, entry).update(**change)

    def test_a_place_is_given_once(self, item):
        with refused("population_position_once"):
            PopulationEntry.objects.create(
                campaign=item.campaign, position=1, kind="server", server=make.active_server()
            )

    def test_its_hash_is_stored_once(self, item):
        with refused("Cannot update"):
            same(Campaign, item.campaign).update(population_hash="f" * 64)


class TestStart:
    """Invariant 6."""

    def test_not_with_an_item_in_nobodys_hands(self, staged):
        with refused("a reviewer for each"):
            same(Campaign, staged).update(state="active")
        reviews.assign_reviewer(actor=make.acting(staged.owner), item=staged.items.get(), to=make.person("reviewer"))
        assert same(Campaign, staged).update(state="active") == 1

    def test_not_without_items(self, reviewer):
        empty = make.campaign(reviewer)
        with refused("starts with items"):
            same(Campaign, empty).update(state="active")


class TestDeadline:
    """Invariant 7."""

    @pytest.fixture
    def late(self, item) -> Decision:
        """A draft that was in time, on an item that no longer takes answers."""
        with clock.at(clock.now() - timedelta(minutes=5)):
            draft = make.decide(item)
        same(Item, item).update(due_at=clock.now() - timedelta(minutes=1))
        return draft

    def test_no_answer_after_it(self, late):
        with refused("deadline of this item"):
            same(Decision, late).update(value="certify", decided_at=clock.now())
        work_item = late.work_item
        late.delete()
        with refused("deadline of this item"):
            Decision.objects.create(
                work_item=work_item, value="certify", evidence_hash=late.evidence_hash, decided_at=clock.now()
            )

    def test_no_signature_after_it(self, late):
        now, campaign = clock.now(), late.work_item.item.campaign
        signature = SignOff.objects.create(
            campaign=campaign, reviewer=late.work_item.reviewer, decisions_root="f" * 64, decision_count=1,
            statement="Late.", auth_method="password", at=now,
        )  # fmt: skip
        with refused("deadline of this item"):
            same(Decision, late).update(signed_at=now, sign_off=signature)


class TestOutcome:
    """Invariant 8: what nobody answered never looks like somebody's decision, nor the other way round."""

    @pytest.mark.parametrize(
        ("state", "outcome"),
        [
            ("in_review", "certify"),
            ("decided", "no_response"),
            ("lapsed", ""),
            ("lapsed", "certify"),
            ("certified", "no_response"),
            ("certified", ""),
            ("revoked", "certify"),
            ("cancelled", "revoke"),
        ],
    )
    def test_fits_the_state(self, item, state, outcome):
        with refused("item_outcome_fits_its_state"):
            same(Item, item).update(state=state, outcome=outcome)

    def test_is_final(self, remediating):
        revoked = same(Item, remediating.items.get())
        for change in ({"state": "certified", "outcome": "certify"}, {"tier": "low"}):
            with refused("Cannot update"):
                revoked.update(**change)

    def test_a_signature_is_somebodys(self, item):
        draft = make.decide(item)
        with refused("decision_signed_with_sign_off"):
            same(Decision, draft).update(signed_at=clock.now())


def test_an_ended_certificate_is_not_revived(item, reviewer):
    """Invariant 9."""
    make.decide(item)
    make.sign(item.campaign, reviewer)
    Certificate.objects.update(ended_at=clock.now(), ended_because="The certified facts changed.")
    with refused("Cannot update"):
        Certificate.objects.update(ended_at=None, ended_because="")


def test_nothing_completes_with_an_item_open(item):
    with refused("every item has its outcome"):
        same(Campaign, item.campaign).update(state="completed")


@pytest.mark.parametrize("state", ["completed", "completed_with_exceptions"])
def test_nothing_completes_before_what_was_taken_away_is_seen_to_be_gone(remediating, state):
    """Invariant 11."""
    assert remediating.state == "remediating"
    with refused("every remediation is verified"):
        same(Campaign, remediating).update(state=state)
    for settled in ("verified", "exception", "withdrawn"):
        Remediation.objects.update(state=settled)
        with transaction.atomic():
            assert same(Campaign, remediating).update(state=state) == 1
            transaction.set_rollback(True)


class TestOnce:
    """Invariants 13, 14 and 15."""

    def test_a_letter_per_occasion(self, reviewer):
        facts = {"key": "once", "to": reviewer, "subject": "S", "text": "T", "html": "H"}
        Letter.objects.create(**facts)
        with refused("duplicate key"):
            Letter.objects.create(**facts)

    def test_a_draft_per_work_item(self, item):
        """Invariant 13: no second answer beside the first, whatever bulk it comes in."""
        draft = make.decide(item)
        with refused("decision_one_draft_per_work_item"):
            Decision.objects.create(
                work_item=draft.work_item, value="certify", evidence_hash=draft.evidence_hash, decided_at=clock.now()
            )

    def test_an_automatic_action_per_rung(self, item):
        facts = {"item": item, "kind": "suspend", "due_at": clock.now()}
        AutomaticAction.objects.create(state="done", **facts)
        with refused("automatic_action_once_per_rung"):
            AutomaticAction.objects.create(state="done", **facts)
        assert AutomaticAction.objects.create(state="dropped", **facts), "it may be planned again after an answer"

    @pytest.mark.parametrize("kind", KINDS)
    def test_an_open_item_per_subject(self, estate, reviewer, kind):
        campaign, subjects = estate
        first = campaign.items.get(kind=kind)
        elsewhere = Campaign.objects.create(
            name="Another", period="P", scope_hash="f" * 64, due_at=clock.now(), owner=campaign.owner
        )
        facts = {
            "campaign": elsewhere, "kind": kind, kind: subjects[kind], "label": first.label, "tier": first.tier,
            "snapshot": first.snapshot, "block": first.block, "fingerprint": first.fingerprint,
            "evidence_hash": first.evidence_hash, "due_at": first.due_at,
        }  # fmt: skip
        for state in ("pending", "in_review", "escalated", "invalidated", "decided"):
            with refused(f"item_open_once_per_{kind}"):
                Item.objects.create(state=state, **facts)
        assert Item.objects.create(state="lapsed", outcome="no_response", **facts)

    @pytest.mark.parametrize("kind", KINDS)
    def test_an_open_trigger_per_subject_and_cause(self, estate, kind):
        facts = {"kind": kind, kind: estate[1][kind], "cause": "facts_changed"}
        Trigger.objects.create(**facts)
        with refused(f"trigger_open_once_per_{kind}_and_cause"):
            Trigger.objects.create(**facts)
        Trigger.objects.update(handled_at=clock.now())
        assert Trigger.objects.create(**facts)


class TestNothingIsDeleted:
    """Invariant 19."""

    def test_neither_history_nor_what_it_is_about(self, remediating, reviewer):
        reviews.raise_trigger(
            actor=Actor.system("tests"), cause=Trigger.Cause.BY_HAND, kind="server",
            subject_id=Server.objects.values_list("pk", flat=True).get(),
        )  # fmt: skip
        for model in (
            Template, Campaign, PopulationEntry, Item, WorkItem, SignOff, Decision, Remediation, Trigger,
            Server, Agent, Grant, User,
        ):  # fmt: skip
            row = model.objects.order_by("pk").last()
            assert row is not None, model
            with refused("Cannot (update or )?delete"):
                same(model, row)._raw_delete("default")

    def test_nor_certificates(self, item, reviewer):
        make.decide(item)
        make.sign(item.campaign, reviewer)
        with refused("Cannot delete"):
            Certificate.objects.all()._raw_delete("default")

    def test_nor_connections(self):
        make.connection()
        with refused("Cannot delete"):
            Connection.objects.all()._raw_delete("default")


def test_every_instant_knows_its_zone():
    """Invariant 17: a time without a zone would be another instant for whoever sits elsewhere."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT data_type, table_name || '.' || column_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND data_type LIKE 'time%'"
        )
        found = cursor.fetchall()
    assert ("timestamp with time zone", "reviews_item.due_at") in found
    assert [column for kind, column in found if kind != "timestamp with time zone"] == []
