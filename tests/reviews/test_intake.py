"""Intake: one registration, one independent reviewer, activated or returned in one signed act."""

from datetime import timedelta

import pytest

from registry.catalog import services as catalog
from registry.core import clock
from registry.core.errors import Changed, Conflict, Invalid, NotAllowed, NotIndependent, SecretRefused
from registry.reviews import services as reviews
from registry.reviews.facts import evidence_of
from registry.reviews.models import Campaign, Certificate, Item, WorkItem
from registry.reviews.services import FactsChanged
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def reviewer():
    return make.person("reviewer", name="Rita Reviewer")


def decide(item, value="certify", **facts):
    held = make.work_of(item)
    fresh = Item.objects.get(pk=item.pk)
    values = {"reason": "Read it all.", "evidence_hash": fresh.evidence_hash, "auth_method": "password"}
    return reviews.decide_intake(actor=make.acting(held.reviewer), work_item=held, value=value, **(values | facts))


class TestOpening:
    def test_one_item_for_one_submission(self, reviewer):
        server = make.submitted_server()
        asked = make.requested_connection(server=server)
        item = make.intake(server)
        assert reviews.open_intake(server_id=server.pk) is None
        assert (item.campaign.kind, item.campaign.state, item.state) == ("intake", "active", "in_review")
        assert make.work_of(item).reviewer == reviewer
        assert [row["id"] for row in item.evidence["context"]["connections"]] == [str(asked.pk)]

    def test_the_sweep_finds_what_a_lost_message_left(self, reviewer):
        server = make.submitted_server()
        assert reviews.sweep_intakes() == 1
        assert reviews.sweep_intakes() == 0
        assert Item.objects.get().server == server

    def test_drafts_have_no_intake(self, reviewer):
        assert reviews.open_intake(server_id=make.complete_draft().pk) is None

    def test_nobody_reviews_their_own_registration_nor_their_request_for_it(self):
        owner = make.person("reviewer")
        server = make.submitted_server(owner=owner)
        item = make.intake(server)
        assert (item.state, item.campaign.state) == ("pending", "staged")
        requester = make.person("reviewer")
        make.requested_connection(server=server, requested_by=requester)
        assert reviews.sweep_intakes() == 0
        free = make.person("reviewer")
        assert reviews.sweep_intakes() == 1
        assert make.work_of(item).reviewer == free

    def test_one_nobody_answers_gets_more_time(self, reviewer):
        item = make.intake(make.submitted_server())
        Campaign.objects.update(due_at=clock.now() - timedelta(hours=1))
        Item.objects.update(due_at=clock.now() - timedelta(hours=1))
        with pytest.raises(Conflict):
            decide(item)
        assert reviews.sweep_intakes() == 1
        assert decide(item)


class TestActivation:
    def test_activates_approves_and_certifies_in_one_act(self, reviewer):
        server = make.submitted_server()
        asked = make.requested_connection(server=server)
        item = make.intake(server)
        decision = decide(item)
        for thing in (server, asked, item, item.campaign):
            thing.refresh_from_db()
        assert (server.lifecycle, asked.status, asked.decided_by) == ("active", "active", reviewer)
        assert (item.state, item.campaign.state, decision.sign_off.decision_count) == ("certified", "completed", 1)
        assert all(tool.approved for tool in server.tools.all())
        certificates = {c.kind: c for c in Certificate.objects.filter(ended_at=None)}
        assert set(certificates) == {"server", "connection"}
        assert certificates["server"].fingerprint == evidence_of(server).fingerprint
        assert certificates["connection"].certified_until <= asked.valid_until
        assert server.certified_until == certificates["server"].certified_until
        assert reviews.end_stale_certificates() == 0

    def test_a_certificate_never_outlives_the_purpose(self, reviewer):
        server = make.complete_draft()
        ends = clock.today() + timedelta(days=20)
        catalog.set_purpose(
            actor=make.acting(server.owner), server=server, statement="A trial.", in_scope=["Trial"], out_of_scope=[],
            data_classes=["internal"], ends_on=ends,
        )  # fmt: skip
        catalog.submit_server(actor=make.acting(server.owner), server=server)
        decide(make.intake(server))
        server.refresh_from_db()
        assert server.certified_until.date() == ends

    def test_if_something_cannot_be_approved_nothing_happens(self, reviewer):
        server = make.submitted_server()
        system = make.system()
        asked = make.requested_connection(server=server, system=system)
        item = make.intake(server)
        catalog.retire_system(actor=make.acting(system.owner), system=system, reason="Replaced")
        with pytest.raises(Conflict):
            decide(item)
        server.refresh_from_db()
        asked.refresh_from_db()
        assert (server.lifecycle, asked.status) == ("submitted", "requested")
        assert not Certificate.objects.exists()


class TestReturn:
    def test_gives_back_with_reasons_and_comes_again(self, reviewer):
        server = make.submitted_server()
        item = make.intake(server)
        with pytest.raises(Invalid):
            decide(item, "return", reason=" ")
        with pytest.raises(SecretRefused):
            decide(item, "return", reason="use password=hunter2hunter2")
        decide(item, "return", reason="Name the data.")
        server.refresh_from_db()
        item.refresh_from_db()
        assert (server.lifecycle, server.lifecycle_reason, item.state) == ("draft", "Name the data.", "returned")
        catalog.submit_server(actor=make.acting(server.owner), server=server)
        assert make.intake(server) != item

    def test_other_answers_are_not_for_intakes(self, reviewer):
        item = make.intake(make.submitted_server())
        with pytest.raises(Invalid):
            decide(item, "revoke")
        with pytest.raises(Conflict):
            make.decide(item)


class TestWhoAndWhen:
    def test_only_its_reviewer(self, reviewer):
        server = make.submitted_server()
        item = make.intake(server)
        held = make.work_of(item)
        for person in (server.owner, make.person("reviewer"), make.person("administrator"), make.person()):
            with pytest.raises(NotAllowed):
                reviews.decide_intake(
                    actor=make.acting(person), work_item=held, value="certify", evidence_hash=item.evidence_hash,
                    auth_method="password",
                )  # fmt: skip

    def test_not_if_the_reviewer_asked_for_a_connection_meanwhile(self, reviewer):
        server = make.submitted_server()
        item = make.intake(server)
        make.requested_connection(server=server, requested_by=reviewer)
        with pytest.raises((NotIndependent, FactsChanged)):
            decide(item)
        with pytest.raises(NotIndependent):
            reviews.confirm_facts(
                actor=make.acting(reviewer),
                work_item=make.work_of(item),
                evidence_hash=evidence_of(server).evidence_hash,
            )

    def test_other_evidence_is_refused(self, reviewer):
        item = make.intake(make.submitted_server())
        with pytest.raises(Changed):
            decide(item, evidence_hash="0" * 64)

    def test_a_withdrawn_registration_ends_its_review(self, reviewer):
        server = make.submitted_server()
        item = make.intake(server)
        catalog.withdraw_server(actor=make.acting(server.owner), server=server)
        assert reviews.recheck(kind="server", id=server.pk) == 1
        item.refresh_from_db()
        item.campaign.refresh_from_db()
        assert (item.state, item.campaign.state) == ("obsolete", "cancelled")
        assert WorkItem.objects.get().state == "closed"
