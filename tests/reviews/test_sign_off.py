"""Deciding and signing: drafts, outcomes, effects, certificates, and who may not."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction

from registry.accounts.models import User
from registry.catalog import services as catalog
from registry.catalog.models import Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import digest
from registry.core.errors import Changed, Conflict, Invalid, NotAllowed, NotIndependent, NotSignedIn, SecretRefused
from registry.reviews import services as reviews
from registry.reviews.facts import evidence_of
from registry.reviews.models import Certificate, Decision, Item, SignOff
from registry.reviews.services import FactsChanged, TooLate
from registry.reviews.services.sign_off import signed_form
from registry.trust import services as trust
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def kept_reviewed(kept):
    reviewer = make.person("reviewer", name="Rita Reviewer")
    server = make.active_server()
    grant = make.grant(server=server)
    connection = make.connection(server=server, access="write", scopes=["orders", "stock"])
    campaign = make.campaign(reviewer)
    assert campaign.state == "active", campaign.state_reason
    items = {item.kind: item for item in campaign.items.all()}
    return reviewer, (campaign, items, server, grant, connection)


class TestDraft:
    def test_an_answer_can_be_changed_and_taken_back(self, reviewed, reviewer):
        _campaign, items, *_ = reviewed
        item = items["server"]
        make.decide(item, "revoke", reason="Nobody uses it.")
        make.decide(item, "certify")
        assert [d.value for d in Decision.objects.all()] == ["certify"]
        item.refresh_from_db()
        assert item.state == "decided"
        reviews.undo_decision(actor=make.acting(reviewer), work_item=make.work_of(item))
        item.refresh_from_db()
        assert (item.state, Decision.objects.count()) == ("in_review", 0)
        with pytest.raises(Conflict):
            reviews.undo_decision(actor=make.acting(reviewer), work_item=make.work_of(item))

    def test_nothing_happens_to_the_subject_before_the_signature(self, reviewed):
        _campaign, items, server, grant, _ = reviewed
        make.decide(items["grant"], "revoke")
        make.decide(items["server"], "certify")
        grant.refresh_from_db()
        server.refresh_from_db()
        assert (grant.status, server.certified_until) == ("active", None)

    @pytest.mark.parametrize(
        ("kind", "answer", "field"),
        [
            ("server", {"value": "revoke", "reason": " "}, "reason"),
            ("server", {"value": "not_decided", "reason": ""}, "reason"),
            ("server", {"value": "certify_reduced", "kept": ["query"]}, "kept"),
            ("server", {"value": "return"}, "value"),
            ("server", {"value": "sell"}, "value"),
            ("grant", {"value": "certify_reduced", "kept": []}, "kept"),
            ("grant", {"value": "certify_reduced", "kept": ["query", "export"]}, "kept"),
            ("grant", {"value": "certify_reduced", "kept": ["drop_table"]}, "kept"),
            ("connection", {"value": "certify_reduced", "kept": ["orders"]}, "kept"),
            ("connection", {"value": "certify_reduced", "kept": ["access:read"]}, "kept"),
            ("connection", {"value": "certify_until", "until": None}, "until"),
            ("connection", {"value": "certify_until", "until": clock.today()}, "until"),
            ("connection", {"value": "certify_until", "until": clock.today() + timedelta(days=3000)}, "until"),
        ],
    )
    def test_what_an_answer_must_not_be(self, reviewer, kind, answer, field):
        server = make.active_server()
        make.grant(server=server, tools=["query", "export"])
        make.connection(server=server, access="write", scopes=["orders", "stock"])
        item = make.campaign(reviewer).items.get(kind=kind)
        with pytest.raises(Invalid) as refused:
            make.decide(item, **answer)
        assert list(refused.value.fields) == [field]

    def test_a_high_tier_wants_a_reason_to_keep(self, reviewer):
        server = make.active_server()
        catalog.override_tier(actor=make.acting(make.person("security")), server=server, tier="high", reason="Payroll")
        item = make.campaign(reviewer, kinds=["server"]).items.get()
        with pytest.raises(Invalid) as refused:
            make.decide(item, "certify", reason="")
        assert "tier is high" in refused.value.fields["reason"][0]

    def test_a_secret_in_the_reason_is_refused_without_echo(self, reviewed):
        _campaign, items, *_ = reviewed
        with pytest.raises(SecretRefused) as refused:
            make.decide(items["server"], reason="password=hunter2hunter2")
        assert "reason" in refused.value.fields
        assert "hunter2" not in str(refused.value.fields)

    def test_only_the_reviewer_decides_whatever_the_role(self, reviewed):
        campaign, items, server, *_ = reviewed
        held = make.work_of(items["server"])
        facts = {"work_item": held, "value": "certify", "evidence_hash": items["server"].evidence_hash}
        for somebody in (campaign.owner, make.person("reviewer"), make.person("administrator"), server.owner):
            with pytest.raises(NotAllowed):
                reviews.save_decision(actor=make.acting(somebody), **facts)
        with pytest.raises(NotAllowed):
            reviews.save_decision(actor=make.acting(make.outsider()), **facts)
        with pytest.raises(NotSignedIn):
            reviews.save_decision(actor=Actor.anonymous(), **facts)

    def test_somebody_who_became_owner_meanwhile_is_no_longer_independent(self, reviewed, reviewer):
        _campaign, items, server, *_ = reviewed
        Server.objects.filter(pk=server.pk).update(owner=reviewer)
        held = make.work_of(items["connection"])
        with pytest.raises(NotIndependent) as refused:
            reviews.save_decision(
                actor=make.acting(reviewer),
                work_item=held,
                value="certify",
                evidence_hash=items["connection"].evidence_hash,
            )
        assert "owns the server" in refused.value.message

    def test_other_evidence_is_refused(self, reviewed):
        _campaign, items, *_ = reviewed
        with pytest.raises(Changed):
            make.decide(items["server"], evidence_hash="0" * 64)

    def test_two_tabs_cannot_overwrite_each_other(self, reviewed):
        from registry.reviews.services.items import review_version

        _campaign, items, *_ = reviewed
        opened = review_version(make.work_of(items["server"]))
        make.decide(items["server"], "certify", expected_version=opened)
        with pytest.raises(Changed):
            make.decide(items["server"], "revoke", expected_version=opened)
        assert Decision.objects.get().value == "certify"

    def test_a_late_answer_is_refused_and_more_time_makes_it_possible(self, reviewed):
        campaign, items, *_ = reviewed
        Item.objects.update(due_at=clock.now() - timedelta(minutes=1))
        with pytest.raises(TooLate):
            make.decide(items["server"])
        reviews.extend_campaign(
            actor=make.acting(campaign.owner),
            campaign=campaign,
            until=clock.today() + timedelta(days=30),
            reason="Holidays",
        )
        assert make.decide(items["server"]).value == "certify"


class TestFactsThatMove:
    def change(self, server):
        catalog.set_tools(
            actor=make.acting(server.owner),
            server=server,
            tools=[{"name": "query", "description": "Runs anything.", "confirmed_class": "execute"}],
        )

    def test_a_change_locks_the_item_until_it_was_seen(self, reviewed, reviewer):
        campaign, items, server, *_ = reviewed
        item = items["server"]
        make.decide(item)
        frozen = item.snapshot
        self.change(server)
        with pytest.raises(FactsChanged):
            make.decide(item)
        item.refresh_from_db()
        assert (item.state, Decision.objects.count()) == ("invalidated", 0)
        with pytest.raises(FactsChanged):
            make.decide(item)
        now = evidence_of(server)
        with pytest.raises(Changed):
            reviews.confirm_facts(
                actor=make.acting(reviewer), work_item=make.work_of(item), evidence_hash=item.evidence_hash
            )
        reviews.confirm_facts(
            actor=make.acting(reviewer), work_item=make.work_of(item), evidence_hash=now.evidence_hash
        )
        item.refresh_from_db()
        assert (item.state, item.snapshot) == ("in_review", frozen)
        with pytest.raises(Changed):
            make.decide(item, evidence_hash=item.evidence_hash)
        make.decide(item)
        make.sign(campaign, reviewer)
        assert Certificate.objects.get(server=server, ended_at=None).fingerprint == now.fingerprint

    def test_a_signature_on_changed_facts_is_refused_and_names_them(self, reviewed, reviewer):
        campaign, items, server, *_ = reviewed
        make.decide(items["server"])
        make.decide(items["connection"])
        self.change(server)
        with pytest.raises(FactsChanged) as refused:
            make.sign(campaign, reviewer)
        assert server.name in refused.value.message
        assert not SignOff.objects.exists()

    def test_what_is_gone_becomes_obsolete_and_counts(self, reviewed, reviewer):
        campaign, items, _server, grant, _ = reviewed
        trust.revoke_relationship(
            actor=make.acting(make.person("security")), relationship=grant, reason="The agent is gone."
        )
        assert reviews.sweep_items() == 1
        items["grant"].refresh_from_db()
        assert items["grant"].state == "obsolete"
        for kind in ("server", "connection"):
            make.decide(items[kind])
        make.sign(campaign, reviewer)
        campaign.refresh_from_db()
        assert campaign.state == "sign_off"

    def test_the_snapshot_is_frozen_by_the_database(self, reviewed):
        _campaign, items, *_ = reviewed
        for change in ({"snapshot": {}}, {"fingerprint": "f" * 64}, {"label": "else"}):
            with pytest.raises(DatabaseError), transaction.atomic():
                Item.objects.filter(pk=items["server"].pk).update(**change)


class TestSignature:
    def test_certified_things_carry_a_certificate_bounded_by_tier_and_validity(self, reviewed, reviewer):
        campaign, items, server, grant, connection = reviewed
        for item in items.values():
            make.decide(item)
        signature = make.sign(campaign, reviewer)
        assert signature.decision_count == 3
        for thing in (server, grant, connection):
            thing.refresh_from_db()
            held = Certificate.objects.get(**{items_kind(thing): thing.pk}, ended_at=None)
            assert thing.certified_until == held.certified_until
            assert clock.now() < held.certified_until <= clock.now() + timedelta(days=366)
            assert held.fingerprint == evidence_of(thing).fingerprint
        assert grant.certified_until <= grant.valid_until
        campaign.refresh_from_db()
        assert campaign.state == "sign_off"
        assert {i.state for i in Item.objects.all()} == {"certified"}

    def test_the_signature_covers_every_decision(self, reviewed, reviewer):
        campaign, items, *_ = reviewed
        for item in items.values():
            make.decide(item)
        signature = make.sign(campaign, reviewer)
        decisions = Decision.objects.filter(sign_off=signature).select_related("work_item__item").order_by("pk")
        assert digest([signed_form(d) for d in decisions]) == signature.decisions_root

    def test_signed_decisions_are_final_in_the_database(self, reviewed, reviewer):
        campaign, items, *_ = reviewed
        make.decide(items["server"])
        make.sign(campaign, reviewer)
        signed = Decision.objects.get()
        with pytest.raises(DatabaseError), transaction.atomic():
            Decision.objects.filter(pk=signed.pk).update(reason="I never said that")
        with pytest.raises(DatabaseError), transaction.atomic():
            signed.delete()
        with pytest.raises(DatabaseError), transaction.atomic():
            SignOff.objects.update(statement="else")

    def test_a_time_box_ends_on_its_day(self, reviewed, reviewer):
        campaign, items, server, *_ = reviewed
        day = clock.today() + timedelta(days=10)
        make.decide(items["server"], "certify_until", until=day)
        make.sign(campaign, reviewer)
        server.refresh_from_db()
        assert server.certified_until.date() == day
        assert Item.objects.get(kind="server").state == "certified_until"

    def test_a_reduced_grant_keeps_only_what_was_kept(self, reviewer):
        server = make.active_server()
        grant = make.grant(server=server, tools=["query", "export"])
        campaign = make.campaign(reviewer, kinds=["grant"])
        make.decide(campaign.items.get(), "certify_reduced", kept=["query"])
        make.sign(campaign, reviewer)
        grant.refresh_from_db()
        narrower = grant.superseded_by
        assert (grant.status, grant.certified_until) == ("reduced", None)
        assert (narrower.status, narrower.tools) == ("active", ["query"])
        assert narrower.certified_until is not None
        assert Certificate.objects.get(ended_at=None).grant == narrower
        item = campaign.items.get()
        assert (item.state, item.remediation.state) == ("certified_reduced", "verifying")

    def test_a_reduced_connection_loses_level_and_scope(self, reviewed, reviewer):
        campaign, items, _server, _grant, connection = reviewed
        make.decide(items["connection"], "certify_reduced", kept=["access:read", "orders"])
        make.sign(campaign, reviewer)
        connection.refresh_from_db()
        narrower = connection.superseded_by
        assert (narrower.access, narrower.scopes) == ("read", ["orders"])

    def test_what_only_became_narrower_by_the_same_signature_stays_certified(self, reviewed, reviewer):
        campaign, items, server, grant, _connection = reviewed
        make.decide(items["server"])
        make.decide(items["grant"])
        make.decide(items["connection"], "certify_reduced", kept=["access:read", "orders"])
        make.sign(campaign, reviewer)
        for thing in (server, grant):
            held = Certificate.objects.get(**{items_kind(thing): thing.pk}, ended_at=None)
            assert held.fingerprint == evidence_of(thing).fingerprint
        assert reviews.end_stale_certificates() == 0

    def test_earlier_certificates_are_carried_over_a_narrowing(self, reviewed, reviewer):
        campaign, items, server, *_ = reviewed
        make.decide(items["server"])
        make.sign(campaign, reviewer)
        first = Certificate.objects.get(server=server, ended_at=None)
        make.decide(items["connection"], "revoke")
        make.sign(campaign, reviewer)
        held = Certificate.objects.get(server=server, ended_at=None)
        assert held != first
        assert held.certified_until == first.certified_until
        assert held.fingerprint == evidence_of(server).fingerprint

    def test_revoking_ends_access_and_certificate(self, reviewed, reviewer):
        campaign, items, server, grant, _ = reviewed
        make.decide(items["grant"], "revoke", reason="Unused.")
        make.decide(items["server"], "revoke", reason="Abandoned.")
        make.sign(campaign, reviewer)
        grant.refresh_from_db()
        server.refresh_from_db()
        assert grant.status == "revoked"
        assert (server.lifecycle, server.certified_until) == ("suspended", None)
        assert {i.remediation.state for i in Item.objects.filter(state="revoked")} == {"verifying"}

    def test_not_sure_keeps_nothing_and_asks_the_next(self, reviewed, reviewer):
        campaign, items, server, *_ = reviewed
        second = make.person("reviewer", name="Sam Second")
        campaign.template.first_stage.reviewers.add(second)
        make.decide(items["server"], "not_decided", reason="Ines from Finance would know.")
        make.sign(campaign, reviewer)
        item = Item.objects.get(kind="server")
        server.refresh_from_db()
        assert server.certified_until is None
        assert (item.state, make.work_of(item).reviewer) == ("in_review", second)
        make.decide(item, "certify")
        make.sign(campaign, second)
        item.refresh_from_db()
        server.refresh_from_db()
        assert item.state == "certified"
        assert server.certified_until is not None

    def test_not_sure_with_nobody_left_stays_with_the_campaign_owner(self, reviewed, reviewer):
        campaign, items, server, *_ = reviewed
        make.decide(items["server"], "not_decided", reason="No idea.")
        make.sign(campaign, reviewer)
        item = Item.objects.get(kind="server")
        assert item.state == "escalated"
        with pytest.raises(NotIndependent):
            reviews.assign_reviewer(actor=make.acting(campaign.owner), item=item, to=promote(server.owner))
        with pytest.raises(Conflict):
            reviews.assign_reviewer(actor=make.acting(campaign.owner), item=item, to=reviewer)
        second = make.person("security")
        reviews.assign_reviewer(actor=make.acting(campaign.owner), item=item, to=second)
        item.refresh_from_db()
        assert (item.state, make.work_of(item).reviewer) == ("in_review", second)

    def test_ownership_is_asked_again_at_the_signature(self, reviewed, reviewer):
        campaign, items, _server, grant, _ = reviewed
        make.decide(items["grant"])
        type(grant).objects.filter(pk=grant.pk).update(requested_by=reviewer)
        with pytest.raises(NotIndependent):
            make.sign(campaign, reviewer)
        assert not SignOff.objects.exists()

    def test_nothing_to_sign(self, reviewed, reviewer):
        campaign, *_ = reviewed
        with pytest.raises(Conflict):
            make.sign(campaign, reviewer)
        with pytest.raises(Conflict):
            make.sign(campaign, make.person("reviewer"))
        with pytest.raises(NotAllowed):
            make.sign(campaign, make.outsider())

    def test_a_later_decision_supersedes_the_earlier_one(self, reviewed, reviewer):
        campaign, items, server, *_ = reviewed
        for item in items.values():
            make.decide(item)
        make.sign(campaign, reviewer)
        again = make.campaign(reviewer, kinds=["server"])
        make.decide(again.items.get(), "certify")
        make.sign(again, reviewer)
        later = Decision.objects.get(work_item__item__campaign=again)
        assert later.supersedes == Decision.objects.get(work_item__item=items["server"])
        assert Certificate.objects.filter(server=server, ended_at=None).count() == 1

    def test_certifying_a_server_approves_the_tools_that_were_shown(self, reviewer):
        server = make.active_server()
        catalog.set_tools(
            actor=make.acting(server.owner), server=server, tools=[{"name": "new", "confirmed_class": "read"}]
        )
        campaign = make.campaign(reviewer, kinds=["server"])
        assert not server.tools.get(name="new", retired_at=None).approved
        make.decide(campaign.items.get())
        make.sign(campaign, reviewer)
        assert server.tools.get(name="new", retired_at=None).approved


class TestClosing:
    def test_from_signature_to_completion_over_verified_remediations(self, reviewed, reviewer):
        campaign, items, *_ = reviewed
        for kind, value in (("server", "certify"), ("grant", "revoke"), ("connection", "certify")):
            make.decide(items[kind], value)
        make.sign(campaign, reviewer)
        close = {"campaign": campaign, "statement": "Complete.", "auth_method": "password"}
        for somebody in (reviewer, make.person("security")):
            with pytest.raises(NotAllowed):
                reviews.close_campaign(actor=make.acting(somebody), **close)
        reviews.close_campaign(actor=make.acting(campaign.owner), **close)
        campaign.refresh_from_db()
        assert campaign.state == "remediating"
        remediation = Item.objects.get(kind="grant").remediation
        confirm = {"remediation": remediation, "proof": "Its token is refused by the gateway."}
        with pytest.raises(NotAllowed):
            reviews.confirm_remediation(actor=make.acting(reviewer), **confirm)
        security = make.person("security")
        with pytest.raises(Invalid):
            reviews.confirm_remediation(actor=make.acting(security), remediation=remediation, proof=" ")
        reviews.confirm_remediation(actor=make.acting(security), effective=False, **confirm)
        campaign.refresh_from_db()
        assert campaign.state == "remediating"
        reviews.confirm_remediation(actor=make.acting(security), **confirm)
        campaign.refresh_from_db()
        assert campaign.state == "completed"
        assert campaign.completed_at is not None

    def test_the_owners_signature_covers_the_population_and_every_signature(self, reviewed, reviewer):
        """Invariant 5: another population, or one signature less, would have another root."""
        campaign, items, *_ = reviewed
        for item in items.values():
            make.decide(item)
        first = make.sign(campaign, reviewer)
        facts = {"actor": make.acting(campaign.owner), "campaign": campaign}
        reviews.close_campaign(statement="Complete.", auth_method="password", **facts)
        campaign.refresh_from_db()
        signed = SignOff.objects.get(kind="campaign")
        covered = {"population": campaign.population_hash, "sign_offs": [first.decisions_root]}
        assert (signed.decisions_root, signed.decision_count) == (digest(covered), 3)

    def test_who_decided_cannot_confirm(self, reviewed):
        campaign, items, _server, _grant, _ = reviewed
        both = make.person("reviewer", "security")
        held = make.work_of(items["grant"])
        reviews.reassign_work_item(actor=make.acting(campaign.owner), work_item=held, to=both, note="Please")
        make.decide(items["grant"], "revoke")
        make.sign(campaign, both)
        remediation = Item.objects.get(kind="grant").remediation
        with pytest.raises(NotIndependent):
            reviews.confirm_remediation(actor=make.acting(both), remediation=remediation, proof="Trust me.")

    def test_an_attestation_against_the_registry_is_refused(self, reviewed, reviewer):
        campaign, items, server, *_ = reviewed
        make.decide(items["server"], "revoke")
        make.sign(campaign, reviewer)
        catalog.resume_server(actor=make.acting(make.person("security")), server=server, reason="Needed after all")
        with pytest.raises(Conflict):
            reviews.confirm_remediation(
                actor=make.acting(make.person("security")),
                remediation=Item.objects.get(kind="server").remediation,
                proof="Looks gone.",
            )


class TestHands:
    def test_recusing_hands_the_item_on(self, reviewed, reviewer):
        campaign, items, *_ = reviewed
        second = make.person("reviewer")
        campaign.template.first_stage.reviewers.add(second)
        make.decide(items["server"])
        reviews.recuse_work_item(
            actor=make.acting(reviewer), work_item=make.work_of(items["server"]), reason="My brother runs it."
        )
        held = make.work_of(items["server"])
        assert (held.reviewer, held.original_reviewer) == (second, reviewer)
        assert not Decision.objects.exists()
        assert held.moves.get().kind == "recused"

    def test_recusing_with_nobody_left_escalates_and_tells_the_owner(
        self, reviewed, reviewer, mailoutbox, django_capture_on_commit_callbacks, settings
    ):
        from registry.reviews import tasks

        campaign, items, *_ = reviewed
        reviews.recuse_work_item(
            actor=make.acting(reviewer), work_item=make.work_of(items["server"]), reason="Conflict."
        )
        items["server"].refresh_from_db()
        assert items["server"].state == "escalated"
        tasks.tell_owner.run(item_id=str(items["server"].pk))
        reviews.send_letters(now=clock.now())
        assert mailoutbox[0].to == [campaign.owner.email]

    def test_delegation_needs_somebody_fit_and_independent(self, reviewed, reviewer):
        _campaign, items, server, *_ = reviewed
        held = make.work_of(items["server"])
        hand = {"actor": make.acting(reviewer), "work_item": held, "note": "You know it better."}
        with pytest.raises(NotIndependent):
            reviews.reassign_work_item(to=promote(server.deputy), **hand)
        with pytest.raises(Invalid):
            reviews.reassign_work_item(to=make.person("reviewer", active=False), **hand)
        with pytest.raises(Invalid):
            reviews.reassign_work_item(to=make.person(), **hand)
        with pytest.raises(NotAllowed):
            reviews.reassign_work_item(
                actor=make.acting(make.person("reviewer")), work_item=held, to=make.person("reviewer"), note="Mine"
            )
        other = make.person("reviewer")
        reviews.reassign_work_item(to=other, **hand)
        assert make.work_of(items["server"]).reviewer == other


class TestCertificatesEnd:
    def certify(self, reviewed, reviewer):
        campaign, items, server, grant, connection = reviewed
        for item in items.values():
            make.decide(item)
        make.sign(campaign, reviewer)
        return server, grant, connection

    def test_with_a_material_change(self, reviewed, reviewer):
        server, grant, connection = self.certify(reviewed, reviewer)
        catalog.set_tools(
            actor=make.acting(server.owner),
            server=server,
            tools=[
                {"name": "query", "description": "Runs a query.", "confirmed_class": "read"},
                {"name": "export", "description": "Writes a file.", "confirmed_class": "write"},
                {"name": "purge", "confirmed_class": "destructive"},
            ],
        )
        assert reviews.recheck(kind="server", id=server.pk) == 1
        server.refresh_from_db()
        assert server.certified_until is None
        ended = Certificate.objects.get(server=server)
        assert ended.ended_because == "The certified facts changed."
        grant.refresh_from_db()
        connection.refresh_from_db()
        assert grant.certified_until is not None
        assert connection.certified_until is not None

    def test_not_with_a_rotation_or_a_rename(self, reviewed, reviewer):
        server, *_ = self.certify(reviewed, reviewer)
        server.secret_sources.update(last_rotated_on=clock.today())
        catalog.update_identity(actor=make.acting(server.owner), server=server, title="Another title")
        assert reviews.end_stale_certificates() == 0

    def test_with_the_relationship(self, reviewed, reviewer):
        _server, grant, _ = self.certify(reviewed, reviewer)
        trust.revoke_relationship(actor=make.acting(make.person("security")), relationship=grant, reason="Gone")
        assert reviews.recheck(kind="grant", id=grant.pk) == 1
        assert Certificate.objects.get(grant=grant).ended_at is not None

    def test_with_time_but_the_date_stays_on_the_thing(self, reviewed, reviewer, monkeypatch):
        server, *_ = self.certify(reviewed, reviewer)
        later = clock.now() + timedelta(days=400)
        monkeypatch.setattr(clock, "now", lambda: later)
        assert reviews.end_stale_certificates() == 3
        server.refresh_from_db()
        assert server.certified_until < later

    def test_nothing_but_a_signature_extends_one(self, reviewed, reviewer):
        server, *_ = self.certify(reviewed, reviewer)
        with pytest.raises(DatabaseError), transaction.atomic():
            Certificate.objects.filter(server=server).update(certified_until=clock.now() + timedelta(days=999))
        with pytest.raises(DatabaseError), transaction.atomic():
            Certificate.objects.filter(server=server).delete()


def promote(user: User) -> User:
    user.roles = ["reviewer"]
    user.save()
    return user


def items_kind(thing) -> str:
    return "server" if isinstance(thing, Server) else thing.kind
