"""What a reduction or revocation brings about: its life, the channels, objections, observations, and what comes back.

Invariants 11 (a campaign is complete only when every revocation is seen to be gone, or excepted) and 12, applied
side (what remains after a reduction is what was kept).
"""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.accounts.models import User
from registry.audit.models import Event
from registry.catalog import services as catalog
from registry.catalog.models import Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import (
    Changed,
    Conflict,
    IllegalTransition,
    Invalid,
    NotAllowed,
    NotIndependent,
    NotSignedIn,
    SecretRefused,
)
from registry.reviews import executors, tasks
from registry.reviews import services as reviews
from registry.reviews.executors import NotCarriedOut, Report
from registry.reviews.facts import evidence_of
from registry.reviews.models import Certificate, Challenge, Decision, Item, Letter, Remediation, Trigger
from registry.reviews.outcome import Outcome, Resolution
from registry.reviews.services import remediation as acts
from registry.reviews.states import REMEDIATION, RemediationState
from registry.trust import services as trust
from registry.trust.models import Grant
from tests import factories as make

pytestmark = pytest.mark.django_db
SYSTEM = Actor.system("tests")


@pytest.fixture
def reviewer() -> User:
    return make.person("reviewer", name="Rita Reviewer")


@pytest.fixture
def security() -> User:
    return make.person("security", name="Sol Security")


def decided(reviewer: User, thing, value: str = "revoke", *, sign: bool = True, **facts) -> Remediation:
    """The remediation of a signed decision on `thing`, in a campaign of its own."""
    kind = "server" if isinstance(thing, Server) else thing.kind if isinstance(thing, Grant) else thing.subject_type
    campaign = make.campaign(reviewer, kinds=[kind], **facts.pop("campaign", {}))
    for item in campaign.items.all():
        make.decide(item, value if item.subject_pk == thing.pk else "certify", **facts)
    make.sign(campaign, reviewer)
    return Remediation.objects.get(item__campaign=campaign, item__in=Item.objects.filter(**{kind: thing.pk}))


def fresh(row: Remediation) -> Remediation:
    return Remediation.objects.get(pk=row.pk)


def later(days: float):
    return clock.at(clock.now() + timedelta(days=days))


def confirm(row: Remediation, by: User, **facts) -> Remediation:
    values = {"proof": "The gateway answers 403 to its token.", "remediation": row}
    return reviews.confirm_remediation(actor=make.acting(by), **(values | facts))


def close(campaign) -> None:
    reviews.close_campaign(
        actor=make.acting(campaign.owner), campaign=campaign, statement="Complete.", auth_method="password"
    )


class Parcel:
    """A channel as a later room will bring one: it can fail, take an errand and answer later, or do it at once."""

    channel = "parcel"

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.errands: list[str] = []

    def carry_out(self, remediation: Remediation) -> Report:
        self.errands.append(remediation.errand)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def channel():
    """Registers a `Parcel` for the length of a test."""

    def bring(*answers) -> Parcel:
        return executors.register(Parcel(*answers))

    yield bring
    executors._executors.pop(Parcel.channel, None)


# --- The cut -----------------------------------------------------------------------------------------------


class TestTheCut:
    def test_a_revoked_grant_is_gone_at_once_but_not_yet_verified(self, reviewer):
        grant = make.grant()
        row = decided(reviewer, grant, reason="Unused.")
        grant.refresh_from_db()
        assert (grant.status, grant.certified_until) == ("revoked", None)
        assert (row.state, row.kind, row.channel, row.round) == ("verifying", "revoke", "registry", 1)
        assert row.reported_at is not None
        assert row.reason == "Unused."
        told = list(Event.objects.filter(subject_id=row.pk).order_by("at", "id").values_list("act", flat=True))
        assert told == [
            "remediation.planned",
            "remediation.dispatched",
            "remediation.reported_done",
            "remediation.verifying",
        ]

    def test_the_window_to_see_it_gone_is_the_tiers(self, reviewer):
        server = make.active_server()
        make.override_tier(server, "critical")
        row = decided(reviewer, make.grant(server=server))
        assert row.verify_by == row.reported_at + timedelta(days=3)

    def test_a_revoked_agent_loses_all_its_grants_and_their_certificates(self, reviewer):
        agent = make.agent()
        held = [make.grant(agent=agent), make.grant(agent=agent)]
        other = make.grant()
        first = make.campaign(reviewer, kinds=["grant", "agent"])
        for item in first.items.all():
            make.decide(item)
        make.sign(first, reviewer)
        assert Certificate.objects.filter(agent=agent, ended_at=None).exists()
        trust.suspend_relationship(actor=make.acting(make.person("security")), relationship=held[1], reason="Odd calls")

        decided(reviewer, agent, reason="Nobody knows whose it is.")
        assert {Grant.objects.get(pk=grant.pk).status for grant in held} == {"revoked"}
        assert Grant.objects.get(pk=other.pk).status == "active"
        ended = Certificate.objects.filter(ended_because="A review revoked it.")
        assert set(ended.values_list("grant", "agent")) == {(held[0].pk, None), (held[1].pk, None), (None, agent.pk)}
        agent.refresh_from_db()
        assert agent.certified_until is None

    def test_an_item_is_cut_once(self, reviewer):
        row = decided(reviewer, make.grant())
        again = acts.dispatch(SYSTEM, row.item, Resolution(Outcome.REVOKE), row.decision)
        assert again is None
        assert Remediation.objects.count() == 1
        assert fresh(row).round == 1

    def test_what_the_clock_decided_is_nobodys_act(self, reviewer):
        grant = make.grant()
        campaign = make.campaign(reviewer, kinds=["grant"])
        assert acts.cut(SYSTEM, campaign.items.get(), "Nobody answered for 30 days.", mode="revoke") == []
        row = Remediation.objects.get()
        assert (row.decision, row.state) == (None, "verifying")
        grant.refresh_from_db()
        assert (grant.status, grant.status_reason) == (
            "revoked",
            f"Review {campaign.name}: Nobody answered for 30 days.",
        )
        acts_of_people = Event.objects.filter(subject_id__in=[row.pk, grant.pk], at__gte=row.created_at)
        assert set(acts_of_people.values_list("actor_kind", flat=True)) == {"system"}

    def test_illegal_moves_are_refused_and_name_the_state(self, reviewer, security):
        row = decided(reviewer, make.grant())
        with pytest.raises(IllegalTransition, match="verifying"):
            reviews.report_done(actor=make.acting(security), remediation=row, reference="CHG-1")
        confirm(row, security)
        for act in (
            lambda: confirm(row, security),
            lambda: reviews.retry_remediation(actor=make.acting(security), remediation=row),
            lambda: reviews.request_exception(
                actor=make.acting(security),
                remediation=row,
                reason="No",
                compensating_control="No",
                expires_at=clock.now() + timedelta(days=1),
            ),
        ):
            with pytest.raises(IllegalTransition, match="verified"):
                act()
        assert fresh(row).state == "verified"

    def test_the_machine_moves_only_as_written(self):
        """Every other pair of states is refused: the table is the whole truth."""
        allowed = {(before, after) for before, then in REMEDIATION.moves.items() for after in then}
        for before in RemediationState:
            for after in RemediationState:
                assert REMEDIATION.allows(before, after) == ((before, after) in allowed)
        assert not REMEDIATION.allows("withdrawn", "dispatched")
        assert not REMEDIATION.allows("dispatched", "verified"), "reported by somebody is not seen by somebody else"


class TestForTheLadder:
    @pytest.mark.parametrize("kind", ["server", "grant", "connection", "agent"])
    def test_suspending_is_undone_exactly(self, kind, security):
        server = make.active_server()
        grant, connection = make.grant(server=server), make.connection(server=server)
        resting = make.grant(agent=grant.agent)
        trust.suspend_relationship(actor=make.acting(security), relationship=resting, reason="Odd calls")
        thing = {"server": server, "grant": grant, "connection": connection, "agent": grant.agent}[kind]
        stopped = server if kind == "server" else connection if kind == "connection" else grant

        pairs = acts.suspend_subject(SYSTEM, kind, thing, "Nobody answered.")
        assert pairs == [["server" if kind == "server" else stopped.kind, str(stopped.pk)]]
        stopped.refresh_from_db()
        assert "suspended" in (getattr(stopped, "lifecycle", ""), getattr(stopped, "status", ""))
        assert acts.suspend_subject(SYSTEM, kind, thing, "Again.") == []

        with pytest.raises(NotIndependent):
            acts.resume_subjects(make.acting(server.owner), pairs, "Mine.")
        assert acts.resume_subjects(make.acting(security), pairs, "The owner was ill.") == pairs
        stopped.refresh_from_db()
        assert "active" in (getattr(stopped, "lifecycle", ""), getattr(stopped, "status", ""))
        resting.refresh_from_db()
        assert resting.status == "suspended", "what somebody else stopped stays stopped"

    def test_what_was_revoked_meanwhile_is_not_given_back(self, security):
        grant = make.grant()
        pairs = acts.suspend_subject(SYSTEM, "grant", grant, "Nobody answered.")
        trust.revoke_relationship(actor=make.acting(security), relationship=grant, reason="Gone for good")
        assert acts.resume_subjects(make.acting(security), pairs, "Please") == []


# --- Reductions (invariant 12) -----------------------------------------------------------------------------


class TestWhatRemains:
    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_what_remains_of_a_grant_is_what_was_kept(self, data):
        reviewer = make.person("reviewer")
        names = [f"tool{number}" for number in range(data.draw(st.integers(2, 6)))]
        server = make.active_server(tools=[{"name": name, "confirmed_class": "read"} for name in names])
        grant = make.grant(server=server, tools=names)
        kept = data.draw(st.sets(st.sampled_from(names), min_size=1, max_size=len(names) - 1))
        campaign = make.campaign(reviewer, kinds=["grant"])
        make.decide(campaign.items.get(grant=grant), "certify_reduced", kept=sorted(kept))
        for item in campaign.items.exclude(grant=grant):
            make.decide(item)
        make.sign(campaign, reviewer)
        row = Remediation.objects.get(item__grant=grant)
        held = Grant.objects.get(agent=grant.agent, server=server, status="active")
        assert set(held.tools) == kept == set(row.kept)
        assert (held.pk, held.all_tools) == (row.remains, False)
        assert executors.contradicting(row) == []

    def test_what_remains_of_a_connection_is_what_was_kept(self, reviewer):
        connection = make.connection(access="write", scopes=["orders", "stock"])
        row = decided(reviewer, connection, "certify_reduced", kept=["access:read", "stock"])
        narrower = type(connection).objects.get(pk=row.remains)
        assert (narrower.access, narrower.scopes) == ("read", ["stock"])
        assert row.kept == ["access:read", "stock"]

    def test_what_rests_stays_at_rest_when_it_is_narrowed(self, reviewer, security):
        grant = make.grant(server=make.active_server(), tools=["query", "export"])
        campaign = make.campaign(reviewer, kinds=["grant"])
        trust.suspend_relationship(actor=make.acting(security), relationship=grant, reason="Odd calls")
        make.decide(campaign.items.get(), "certify_reduced", kept=["query"])
        make.sign(campaign, reviewer)
        narrower = Grant.objects.get(pk=Remediation.objects.get().remains)
        assert (narrower.status, narrower.tools) == ("suspended", ["query"])

    def test_a_wider_version_that_slipped_in_is_narrowed_to_what_was_kept(self, reviewer, security):
        """Carried out late, after the objections: what is held by then may be another version."""
        server = make.active_server(tools=[{"name": name, "confirmed_class": "read"} for name in "abc"])
        grant = make.grant(server=server, tools=["a", "b"])
        row = decided(reviewer, grant, "certify_reduced", kept=["a"], campaign={"challenge_days": 3})
        wider = make.grant(server=server, agent=grant.agent, tools=["a", "b", "c"])
        with later(3.1):
            reviews.follow_up(now=clock.now())
        wider.refresh_from_db()
        held = Grant.objects.get(agent=grant.agent, server=server, status="active")
        assert (wider.status, held.tools) == ("reduced", ["a"])
        assert fresh(row).remains == held.pk

    def test_nothing_of_what_replaced_it_was_kept(self, reviewer):
        server = make.active_server(tools=[{"name": name, "confirmed_class": "read"} for name in "abc"])
        grant = make.grant(server=server, tools=["a", "b"])
        row = decided(reviewer, grant, "certify_reduced", kept=["a"], campaign={"challenge_days": 3})
        other = make.grant(server=server, agent=grant.agent, tools=["c"])
        with later(3.1):
            reviews.follow_up(now=clock.now())
        other.refresh_from_db()
        assert other.status == "revoked"
        assert fresh(row).remains is None


# --- Objections --------------------------------------------------------------------------------------------


class TestObjections:
    @pytest.fixture
    def waiting(self, reviewer):
        connection = make.connection(access="write", scopes=["orders", "stock"])
        return decided(reviewer, connection, campaign={"challenge_days": 5})

    def test_nothing_is_taken_away_before_the_time_is_over(self, waiting):
        connection = waiting.item.subject
        assert waiting.state == "challenge"
        assert connection.status == "active"
        reviews.follow_up(now=clock.now())
        assert fresh(waiting).state == "challenge"
        with later(5.1):
            reviews.follow_up(now=clock.now())
        connection.refresh_from_db()
        assert (fresh(waiting).state, connection.status) == ("verifying", "revoked")

    def test_the_people_concerned_are_told_once(self, waiting):
        connection = waiting.item.subject
        told = {letter.to for letter in Letter.objects.filter(key__startswith="challenge:")}
        assert told == {connection.server.owner, connection.server.deputy, connection.system.owner}
        letter = Letter.objects.filter(key__startswith="challenge:").first()
        assert f"/reviews/remediations/{waiting.pk}/" in letter.text

    def test_an_open_objection_holds_it_back_beyond_the_time(self, waiting):
        owner = waiting.item.subject.system.owner
        reviews.challenge_remediation(actor=make.acting(owner), remediation=waiting, reason="Payroll runs on it.")
        with later(30):
            reviews.follow_up(now=clock.now())
            assert fresh(waiting).state == "challenge"
        assert waiting.item.subject.status == "active"

    def test_upheld_it_is_withdrawn_and_reviewed_again(self, waiting, security):
        connection = waiting.item.subject
        challenge = reviews.challenge_remediation(
            actor=make.acting(connection.server.owner), remediation=waiting, reason="Payroll runs on it."
        )
        reviews.decide_challenge(actor=make.acting(security), challenge=challenge, upheld=True, answer="Right.")
        connection.refresh_from_db()
        assert (fresh(waiting).state, connection.status) == ("withdrawn", "active")
        trigger = Trigger.objects.get(cause="challenge_upheld")
        assert trigger.connection == connection
        assert Letter.objects.get(key__startswith="objection-answered:").to == connection.server.owner

    def test_refused_it_is_carried_out_now(self, waiting, security):
        connection = waiting.item.subject
        challenge = reviews.challenge_remediation(
            actor=make.acting(connection.system.owner), remediation=waiting, reason="I like it."
        )
        reviews.decide_challenge(actor=make.acting(security), challenge=challenge, upheld=False, answer="No need.")
        connection.refresh_from_db()
        assert (fresh(waiting).state, connection.status) == ("verifying", "revoked")
        assert not Trigger.objects.exists()

    def test_who_may_object(self, waiting, reviewer):
        for somebody in (make.person(), make.person("security"), make.person("administrator"), reviewer):
            with pytest.raises(NotAllowed):
                reviews.challenge_remediation(actor=make.acting(somebody), remediation=waiting, reason="No")
        with pytest.raises(NotSignedIn):
            reviews.challenge_remediation(actor=Actor.anonymous(), remediation=waiting, reason="No")
        deputy = make.acting(waiting.item.subject.server.deputy)
        with pytest.raises(Invalid):
            reviews.challenge_remediation(actor=deputy, remediation=waiting, reason=" ")
        with pytest.raises(SecretRefused):
            reviews.challenge_remediation(actor=deputy, remediation=waiting, reason="password=hunter2hunter2")
        reviews.challenge_remediation(actor=deputy, remediation=waiting, reason="It is needed.")
        with pytest.raises(Conflict):
            reviews.challenge_remediation(actor=deputy, remediation=waiting, reason="And again.")

    def test_late_objections_are_refused_loudly(self, waiting):
        owner = make.acting(waiting.item.subject.server.owner)
        with later(5.1), pytest.raises(Conflict, match="over"):
            reviews.challenge_remediation(actor=owner, remediation=waiting, reason="Wait!")

    def test_who_decides_on_an_objection(self, waiting, security, reviewer):
        connection = waiting.item.subject
        owner = connection.system.owner
        owner.roles = ["member", "security"]
        owner.save()
        challenge = reviews.challenge_remediation(actor=make.acting(owner), remediation=waiting, reason="Needed.")
        answer = {"challenge": challenge, "upheld": True, "answer": "Right."}
        with pytest.raises(NotIndependent, match="objected"):
            reviews.decide_challenge(actor=make.acting(owner), **answer)
        reviewer.roles = ["reviewer", "security"]
        reviewer.save()
        with pytest.raises(NotIndependent, match="decided"):
            reviews.decide_challenge(actor=make.acting(reviewer), **answer)
        deputy = connection.server.deputy
        deputy.roles = ["security"]
        deputy.save()
        with pytest.raises(NotIndependent, match="deputises"):
            reviews.decide_challenge(actor=make.acting(deputy), **answer)
        for somebody in (make.person(), make.person("administrator"), make.person("campaign_manager")):
            with pytest.raises(NotAllowed):
                reviews.decide_challenge(actor=make.acting(somebody), **answer)
        with pytest.raises(Invalid):
            reviews.decide_challenge(actor=make.acting(security), **(answer | {"answer": ""}))
        reviews.decide_challenge(actor=make.acting(waiting.item.campaign.owner), **answer)
        with pytest.raises(Conflict):
            reviews.decide_challenge(actor=make.acting(security), **answer)
        assert Challenge.objects.get().decided_by == waiting.item.campaign.owner

    def test_a_late_reduction_is_certified_by_its_signature_and_no_longer(self, reviewer):
        """The signature fixed the day; carrying it out later does not move it."""
        grant = make.grant(server=make.active_server(), tools=["query", "export"])
        row = decided(reviewer, grant, "certify_reduced", kept=["query"], campaign={"challenge_days": 10})
        assert not Certificate.objects.filter(ended_at=None).exists(), "nothing is certified that is to shrink"
        until = row.certify_until
        with later(10.1):
            reviews.follow_up(now=clock.now())
            held = Certificate.objects.get(ended_at=None)
        assert held.grant_id == fresh(row).remains
        assert (held.certified_until, held.decision) == (until, row.decision)

    def test_others_certificates_are_carried_over_a_late_narrowing(self, reviewer):
        connection = make.connection(access="write", scopes=["orders", "stock"])
        server = connection.server
        first = make.campaign(reviewer, kinds=["server"])
        make.decide(first.items.get())
        make.sign(first, reviewer)
        before = Certificate.objects.get(server=server, ended_at=None)
        decided(reviewer, connection, "certify_reduced", kept=["access:read", "stock"], campaign={"challenge_days": 1})
        with later(1.1):
            reviews.follow_up(now=clock.now())
            held = Certificate.objects.get(server=server, ended_at=None)
        assert held != before
        assert held.certified_until == before.certified_until
        assert held.fingerprint == evidence_of(server).fingerprint


# --- Channels ----------------------------------------------------------------------------------------------


class TestChannels:
    def over(self, reviewer: User, channel: str) -> Remediation:
        """A revocation that is then sent over a channel, because it was not seen to be gone."""
        row = decided(reviewer, make.grant())
        confirm(row, make.person("security"), effective=False)
        return reviews.retry_remediation(
            actor=make.acting(make.person("security")), remediation=row, channel=channel, instruction="Close account 7."
        )

    def test_a_channel_that_does_it_at_once(self, reviewer, channel):
        parcel = channel(Report(True, "PARCEL-1"))
        row = self.over(reviewer, "parcel")
        assert (row.state, row.round) == ("dispatched", 2)
        assert reviews.carry_out(remediation_id=row.pk)
        row = fresh(row)
        assert (row.state, row.channel_reference, row.attempts) == ("verifying", "PARCEL-1", 1)
        assert parcel.errands == [f"{row.pk}:2"]
        assert not reviews.carry_out(remediation_id=row.pk), "an errand that is done is not run again"

    def test_a_channel_that_fails_is_asked_again_later_and_later(self, reviewer, channel):
        parcel = channel(NotCarriedOut("It is closed."), RuntimeError("boom"), Report(True, "PARCEL-2"))
        row = self.over(reviewer, "parcel")
        start = clock.now()
        reviews.carry_out(remediation_id=row.pk)
        assert fresh(row).failure == "It is closed."
        waits = [fresh(row).next_attempt_at - start]
        assert not reviews.carry_out(remediation_id=row.pk), "not before its time"
        with clock.at(fresh(row).next_attempt_at):
            reviews.follow_up(now=clock.now())
            assert fresh(row).failure == "The channel failed (RuntimeError)."
            waits.append(fresh(row).next_attempt_at - clock.now())
        assert waits[1] > waits[0] > timedelta(0)
        with clock.at(fresh(row).next_attempt_at):
            reviews.follow_up(now=clock.now())
        assert (fresh(row).state, fresh(row).failure, fresh(row).attempts) == ("verifying", "", 3)
        assert len(set(parcel.errands)) == 1, "the same errand, however often it is tried"

    def test_a_channel_that_answers_later(self, reviewer, channel, security):
        channel(Report(False, "TICKET-9", "Waits in the queue of the identity team."))
        row = self.over(reviewer, "parcel")
        reviews.carry_out(remediation_id=row.pk)
        row = fresh(row)
        assert (row.state, row.channel_reference, row.next_attempt_at) == ("dispatched", "TICKET-9", None)
        assert row.instruction == "Waits in the queue of the identity team."
        reviews.report_done(actor=Actor.system("tickets"), remediation=row, reference="TICKET-9, closed")
        assert (fresh(row).state, fresh(row).channel_reference) == ("verifying", "TICKET-9, closed")

    def test_what_was_settled_meanwhile_is_not_overwritten_by_a_slow_channel(self, reviewer, channel, security):
        channel()
        row = self.over(reviewer, "parcel")

        class Slow(Parcel):
            def carry_out(self, remediation: Remediation) -> Report:
                confirm(remediation, security)
                return Report(True, "TOO-LATE")

        executors.register(Slow())
        reviews.carry_out(remediation_id=row.pk)
        assert fresh(row).state == "verified"
        assert fresh(row).channel_reference != "TOO-LATE"

    def test_a_channel_whose_room_is_gone_fails_and_says_so(self, reviewer, channel):
        channel()
        row = self.over(reviewer, "parcel")
        executors._executors.pop("parcel")
        reviews.carry_out(remediation_id=row.pk)
        assert fresh(row).failure == "No channel is called parcel."

    def test_a_dead_worker_loses_nothing(self, reviewer, channel):
        """Claimed, and then nothing: after the lease the sweep asks again, under the same name."""
        parcel = channel(KeyboardInterrupt(), Report(True, "PARCEL-3"))
        row = self.over(reviewer, "parcel")
        with pytest.raises(KeyboardInterrupt):
            reviews.carry_out(remediation_id=row.pk)
        reviews.follow_up(now=clock.now())
        assert len(parcel.errands) == 1, "while the lease runs nobody else is asked"
        with clock.at(fresh(row).next_attempt_at):
            reviews.follow_up(now=clock.now())
        assert fresh(row).state == "verifying"
        assert parcel.errands == [row.errand] * 2

    def test_a_lost_message_is_made_up_for(self, reviewer, channel):
        channel(Report(True, "PARCEL-4"))
        row = self.over(reviewer, "parcel")
        tasks.follow_up_remediations.run()
        assert fresh(row).state == "verifying"

    def test_unknown_channels_are_refused(self, reviewer, security):
        row = decided(reviewer, make.grant())
        confirm(row, security, effective=False)
        with pytest.raises(Invalid) as refused:
            reviews.retry_remediation(actor=make.acting(security), remediation=row, channel="pigeon")
        assert "manual" in refused.value.fields["channel"][0]


class TestByHand:
    """A static credential lives on at the vendor, whatever the registry says."""

    @pytest.fixture
    def outside(self, reviewer):
        secret = {
            "kind": "vault",
            "reference": "kv/data/vendor-key",
            "credential_type": "static",
            "revocable_by": "Vendor console, platform team",
        }
        return decided(reviewer, make.connection(server=make.active_server(secret=secret)))

    def test_the_registry_ends_its_part_and_says_what_is_left(self, outside):
        outside.item.subject.refresh_from_db()
        assert (outside.state, outside.channel) == ("dispatched", "manual")
        assert outside.item.subject.status == "revoked"
        reviews.carry_out(remediation_id=outside.pk)
        row = fresh(outside)
        assert "kv/data/vendor-key" in row.instruction
        assert "platform team" in row.instruction
        told = {letter.to for letter in Letter.objects.filter(key__startswith="errand:")}
        assert row.item.subject.server.owner in told
        reviews.carry_out(remediation_id=outside.pk)
        reviews.follow_up(now=clock.now())
        assert Letter.objects.filter(key__startswith="errand:").count() == len(told)

    def test_a_report_proves_nothing(self, outside, security):
        owner = make.acting(outside.item.subject.server.owner)
        with pytest.raises(Invalid):
            reviews.report_done(actor=owner, remediation=outside, reference=" ")
        with pytest.raises(SecretRefused):
            reviews.report_done(actor=owner, remediation=outside, reference="password=hunter2hunter2")
        for somebody in (make.person(), make.person("auditor")):
            with pytest.raises(NotAllowed):
                reviews.report_done(actor=make.acting(somebody), remediation=outside, reference="CHG-7")
        done = reviews.report_done(actor=owner, remediation=outside, reference="CHG-7")
        assert (done.state, done.channel_reference, done.verified_at) == ("verifying", "CHG-7", None)
        with pytest.raises(Changed):
            confirm(outside, security, expected_version=outside.etag)
        assert confirm(outside, security).state == "verified"

    def test_nobody_reports(self, outside, security):
        with later(400):
            reviews.follow_up(now=clock.now())
        assert fresh(outside).state == "not_verified"


# --- Seen to be gone (invariant 11) ------------------------------------------------------------------------


class TestSeenToBeGone:
    def observe(self, row, confirmed=True, **facts):
        values = {
            "source": "discovery",
            "observed_at": clock.now(),
            "proof": "401 to tools/list",
            "remediation": row,
            "confirmed": confirmed,
        }
        return reviews.record_observation(actor=SYSTEM, **(values | facts))

    def test_an_independent_observation_verifies(self, reviewer):
        row = decided(reviewer, make.grant())
        [seen] = self.observe(row)
        row = fresh(row)
        assert (row.state, seen.confirmed, seen.by) == ("verified", True, None)
        assert row.verified_at is not None

    def test_what_was_seen_before_the_act_says_nothing(self, reviewer):
        before = clock.now()
        row = decided(reviewer, make.grant())
        with pytest.raises(Conflict, match="before it was carried out"):
            self.observe(row, observed_at=before)
        about = {"remediation": None, "kind": "grant", "subject_id": row.item.grant_id}
        assert self.observe(row, observed_at=before, **about) == []
        assert fresh(row).state == "verifying"
        assert len(self.observe(row, **about)) == 1
        assert fresh(row).state == "verified"

    def test_the_same_observation_counts_once(self, reviewer):
        row = decided(reviewer, make.grant())
        at = clock.now()
        first, second = (self.observe(row, observed_at=at)[0] for _ in range(2))
        assert first == second
        assert row.verifications.count() == 1

    @pytest.mark.parametrize(
        ("facts", "field"),
        [
            ({"source": "attestation"}, "source"),
            ({"source": "registry"}, "source"),
            ({"proof": " "}, "proof"),
            ({"observed_at": clock.now() + timedelta(days=1)}, "observed_at"),
        ],
    )
    def test_what_an_observation_must_not_be(self, reviewer, facts, field):
        row = decided(reviewer, make.grant())
        with pytest.raises(Invalid) as refused:
            self.observe(row, **facts)
        assert list(refused.value.fields) == [field]

    def test_the_registrys_contradiction_wins(self, reviewer, security):
        server = make.active_server()
        row = decided(reviewer, server)
        catalog.resume_server(actor=make.acting(security), server=server, reason="Needed after all")
        self.observe(row)
        row = fresh(row)
        assert row.state == "not_verified"
        assert list(row.verifications.values_list("source", "confirmed")) == [
            ("discovery", True),
            ("registry", False),
        ]
        with pytest.raises(Conflict, match="registry itself"):
            confirm(row, make.person("security"))

    def test_nobody_looks_within_the_window(self, reviewer):
        row = decided(reviewer, make.grant())
        campaign = row.item.campaign
        somebody = make.person("security")
        with clock.at(row.verify_by - timedelta(minutes=1)):
            reviews.follow_up(now=clock.now())
            assert fresh(row).state == "verifying"
        with clock.at(row.verify_by + timedelta(minutes=1)):
            reviews.follow_up(now=clock.now())
            reviews.follow_up(now=clock.now())
        assert fresh(row).state == "not_verified"
        letters = Letter.objects.filter(key__startswith="not_verified:")
        assert {letter.to for letter in letters} >= {campaign.owner, somebody}
        assert letters.count() == len({letter.to_id for letter in letters})

    def test_who_may_say_that_it_is_gone(self, reviewer, security):
        grant = make.grant()
        row = decided(reviewer, grant)
        for somebody in (make.person(), make.person("administrator"), grant.server.owner, row.item.campaign.owner):
            with pytest.raises(NotAllowed):
                confirm(row, somebody)
        with pytest.raises(NotAllowed):
            reviews.record_observation(
                actor=make.acting(make.person()),
                remediation=row,
                source="discovery",
                confirmed=True,
                observed_at=clock.now(),
                proof="Seen",
            )
        owner = grant.server.owner
        owner.roles = ["security"]
        owner.save()
        with pytest.raises(NotIndependent):
            confirm(row, owner)
        reviewer.roles = ["reviewer", "security"]
        reviewer.save()
        for act in (lambda: confirm(row, reviewer), lambda: self.observe_as(row, reviewer)):
            with pytest.raises(NotIndependent):
                act()
        assert confirm(row, security).state == "verified"

    def observe_as(self, row, user):
        return reviews.record_observation(
            actor=make.acting(user),
            remediation=row,
            source="activity",
            confirmed=True,
            observed_at=clock.now(),
            proof="No call since",
        )

    def test_every_reviewer_who_decided_is_barred_not_only_the_decisive_one(self, reviewer, security):
        second = make.person("reviewer", "security")
        grant = make.grant()
        campaign = make.campaign(reviewer, second, kinds=["grant"], reviewers_per_item=2)
        item = campaign.items.get(grant=grant)
        # The denial comes last: it ends the item.
        for held in sorted(item.work_items.select_related("reviewer"), key=lambda held: held.reviewer == reviewer):
            value = "certify" if held.reviewer == second else "revoke"
            reviews.note_opened(actor=make.acting(held.reviewer), work_item=held)
            reviews.save_decision(
                actor=make.acting(held.reviewer),
                work_item=held,
                value=value,
                evidence_hash=item.seen.evidence_hash,
                reason="Looked.",
            )
            make.sign(campaign, held.reviewer)
        row = Remediation.objects.get(item=item)
        assert row.decision.work_item.reviewer == reviewer
        with pytest.raises(NotIndependent):
            confirm(row, second)

    def test_a_campaign_is_complete_when_every_revocation_is_seen_to_be_gone(self, reviewer, security):
        """Invariant 11."""
        rows = [make.grant(), make.grant()]
        campaign = make.campaign(reviewer, kinds=["grant"])
        for item in campaign.items.all():
            make.decide(item, "revoke")
        make.sign(campaign, reviewer)
        close(campaign)
        found = list(Remediation.objects.order_by("pk"))
        assert len(found) == len(rows)
        states = []
        for row in found:
            campaign.refresh_from_db()
            states.append(campaign.state)
            confirm(row, security)
        campaign.refresh_from_db()
        assert [*states, campaign.state] == ["remediating", "remediating", "completed"]

    @pytest.mark.parametrize("state", [s for s in RemediationState if s not in ("verified", "exception", "withdrawn")])
    def test_no_other_state_completes_a_campaign(self, reviewer, state):
        row = decided(reviewer, make.grant())
        Remediation.objects.filter(pk=row.pk).update(state=state)
        close(row.item.campaign)
        campaign = type(row.item.campaign).objects.get(pk=row.item.campaign_id)
        assert campaign.state == "remediating"

    def test_what_was_withdrawn_does_not_pass_as_carried_out(self, reviewer, security):
        connection = make.connection()
        row = decided(reviewer, connection, campaign={"challenge_days": 5})
        close(row.item.campaign)
        challenge = reviews.challenge_remediation(
            actor=make.acting(connection.server.owner), remediation=row, reason="Payroll"
        )
        reviews.decide_challenge(actor=make.acting(security), challenge=challenge, upheld=True, answer="Right")
        campaign = type(row.item.campaign).objects.get(pk=row.item.campaign_id)
        assert campaign.state == "completed_with_exceptions"

    def test_carrying_it_out_again(self, reviewer, security):
        row = decided(reviewer, make.grant())
        confirm(row, security, effective=False)
        for somebody in (make.person(), reviewer, row.item.subject.server.owner):
            with pytest.raises(NotAllowed):
                reviews.retry_remediation(actor=make.acting(somebody), remediation=row)
        done = reviews.retry_remediation(actor=make.acting(row.item.campaign.owner), remediation=row)
        assert (done.state, done.round) == ("verifying", 2)
        assert confirm(row, security).state == "verified"


# --- Seen again --------------------------------------------------------------------------------------------


class TestSeenAgain:
    def verified(self, reviewer, thing, value="revoke", **facts) -> Remediation:
        return confirm(decided(reviewer, thing, value, **facts), make.person("security"))

    def test_quiet_things_stay_verified(self, reviewer):
        grant = make.grant(server=make.active_server(), tools=["query", "export"])
        row = self.verified(reviewer, grant, "certify_reduced", kept=["query"])
        other = self.verified(reviewer, make.grant())
        assert reviews.find_regressions() == 0
        assert {fresh(row).state, fresh(other).state} == {"verified"}

    def test_a_server_back_in_service_without_a_new_review(self, reviewer, security):
        server = make.active_server()
        row = self.verified(reviewer, server)
        catalog.resume_server(actor=make.acting(security), server=server, reason="Needed after all")
        assert reviews.look_again(kind="server", id=server.pk) == 1
        row = fresh(row)
        assert (row.state, row.verified_at) == ("regressed", None)
        trigger = Trigger.objects.get()
        assert (trigger.cause, trigger.server) == ("regressed", server)
        assert row.item.campaign.owner in {each.to for each in Letter.objects.filter(key__startswith="regressed:")}
        assert reviews.find_regressions() == 0, "it is told once"
        reviews.follow_up(now=clock.now())
        server.refresh_from_db()
        assert (server.lifecycle, fresh(row).state) == ("active", "regressed"), "the registry does not fight people"

    def test_a_grant_approved_again_without_a_new_review(self, reviewer, security):
        grant = make.grant()
        row = self.verified(reviewer, grant)
        again = make.grant(server=grant.server, agent=grant.agent)
        assert reviews.look_again(kind="grant", id=again.pk) == 1
        assert (fresh(row).state, Trigger.objects.get().grant) == ("regressed", again)
        reviews.retry_remediation(actor=make.acting(security), remediation=row)
        again.refresh_from_db()
        assert (fresh(row).state, again.status) == ("verifying", "revoked")

    def test_a_connection_given_again(self, reviewer):
        connection = make.connection()
        row = self.verified(reviewer, connection)
        again = make.connection(server=connection.server, system=connection.system)
        assert reviews.look_again(kind="connection", id=again.pk) == 1
        assert (fresh(row).state, Trigger.objects.get().connection) == ("regressed", again)

    def test_dropped_tools_held_again(self, reviewer):
        server = make.active_server(tools=[{"name": name, "confirmed_class": "read"} for name in "abc"])
        grant = make.grant(server=server, tools=["a", "b", "c"])
        row = self.verified(reviewer, grant, "certify_reduced", kept=["a", "b"])
        same = make.grant(server=server, agent=grant.agent, tools=["b"])
        assert reviews.find_regressions() == 0, "narrower than what was kept is nothing new"
        assert same.status == "active"
        wider = make.grant(server=server, agent=grant.agent, tools=["b", "c"])
        assert reviews.find_regressions() == 1
        assert (fresh(row).state, Trigger.objects.get().grant) == ("regressed", wider)

    def test_dropped_scopes_and_levels_held_again(self, reviewer):
        connection = make.connection(access="write", scopes=["orders", "stock"])
        self.verified(reviewer, connection, "certify_reduced", kept=["access:read", "stock"])
        make.connection(server=connection.server, system=connection.system, access="write", scopes=["stock"])
        assert reviews.find_regressions() == 1

    def test_an_agent_that_is_granted_something_again(self, reviewer):
        agent = make.agent()
        grant = make.grant(agent=agent)
        row = self.verified(reviewer, agent)
        make.grant()
        assert reviews.find_regressions() == 0
        again = make.grant(agent=agent)
        assert reviews.look_again(kind="grant", id=again.pk) == 1
        assert (fresh(row).state, Trigger.objects.get().agent) == ("regressed", agent)
        assert grant.pk != again.pk

    def test_a_newer_signature_is_no_regression_and_ends_one(self, reviewer):
        grant = make.grant()
        row = self.verified(reviewer, grant)
        again = make.grant(server=grant.server, agent=grant.agent)
        reviews.find_regressions()
        assert fresh(row).state == "regressed"
        campaign = make.campaign(reviewer, kinds=["grant"])
        make.decide(campaign.items.get(grant=again))
        make.sign(campaign, reviewer)
        reviews.follow_up(now=clock.now())
        again.refresh_from_db()
        assert (fresh(row).state, again.status) == ("withdrawn", "active")

    def test_certified_anew_from_the_start_is_no_regression(self, reviewer):
        grant = make.grant()
        row = self.verified(reviewer, grant)
        again = make.grant(server=grant.server, agent=grant.agent)
        campaign = make.campaign(reviewer, kinds=["grant"])
        make.decide(campaign.items.get(grant=again))
        make.sign(campaign, reviewer)
        assert reviews.find_regressions() == 0
        assert fresh(row).state == "verified"

    def test_only_the_newest_remediation_of_a_pair_regresses(self, reviewer):
        grant = make.grant()
        first = self.verified(reviewer, grant)
        again = make.grant(server=grant.server, agent=grant.agent)
        second = self.verified(reviewer, again)
        make.grant(server=grant.server, agent=grant.agent)
        assert reviews.find_regressions() == 1
        assert (fresh(first).state, fresh(second).state) == ("verified", "regressed")

    def test_an_observation_outside_reopens_it_and_it_is_carried_out_again(self, reviewer):
        row = self.verified(reviewer, make.connection())
        reviews.record_observation(
            actor=SYSTEM,
            kind="connection",
            subject_id=row.item.connection_id,
            source="activity",
            confirmed=False,
            observed_at=clock.now(),
            proof="A call at 14:02",
        )
        assert fresh(row).state == "regressed"
        trigger = Trigger.objects.get()
        assert (trigger.cause, trigger.kind, trigger.server) == ("regressed", "server", row.item.connection.server)
        reviews.follow_up(now=clock.now())
        assert (fresh(row).state, fresh(row).round) == ("verifying", 2)

    def test_the_events_find_it(self, reviewer, django_capture_on_commit_callbacks, monkeypatch):
        row = self.verified(reviewer, make.grant())
        asked = []
        monkeypatch.setattr(tasks.recheck, "delay", lambda **facts: asked.append(facts))
        with django_capture_on_commit_callbacks(execute=True):
            again = make.grant(server=row.item.grant.server, agent=row.item.grant.agent)
        assert {"kind": "grant", "subject_id": str(again.pk)} in asked
        tasks.recheck.run(kind="grant", subject_id=str(again.pk))
        assert fresh(row).state == "regressed"

    def test_looking_costs_the_same_however_many_are_quiet(self, reviewer, django_assert_num_queries):
        self.verified(reviewer, make.grant())
        with django_assert_num_queries(1):
            reviews.find_regressions()
        for _ in range(3):
            self.verified(reviewer, make.grant())
        with django_assert_num_queries(1):
            reviews.find_regressions()


def test_decisions_of_the_signature_stay_with_the_remediation(reviewer):
    row = decided(reviewer, make.grant())
    assert row.decision == Decision.objects.get(value="revoke")
