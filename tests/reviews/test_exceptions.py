"""Exceptions: who asks, who approves, how long, and that they end (invariant 11)."""

from datetime import timedelta

import pgtrigger
import pytest
from django.db import IntegrityError, transaction

from registry.accounts.models import User
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import (
    Conflict,
    IllegalTransition,
    Invalid,
    NotAllowed,
    NotIndependent,
    NotSignedIn,
    SecretRefused,
)
from registry.reviews import services as reviews
from registry.reviews.cadence import end_of_day
from registry.reviews.models import Campaign, Certificate, ExceptionRecord, Letter, Remediation, Trigger
from registry.reviews.services.exceptions import LIMIT_DAYS
from registry.trust.models import Grant
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def reviewer() -> User:
    return make.person("reviewer", name="Rita Reviewer")


@pytest.fixture
def security() -> User:
    return make.person("security", name="Sol Security")


@pytest.fixture
def unverified(reviewer, security) -> Remediation:
    """A revoked grant that somebody saw working, in a campaign that waits for nothing else."""
    make.grant()
    campaign = make.campaign(reviewer, kinds=["grant"])
    make.decide(campaign.items.get(), "revoke")
    make.sign(campaign, reviewer)
    reviews.close_campaign(
        actor=make.acting(campaign.owner), campaign=campaign, statement="Complete.", auth_method="password"
    )
    row = Remediation.objects.get()
    return reviews.confirm_remediation(
        actor=make.acting(security), remediation=row, proof="It still answers.", effective=False
    )


def ask(row: Remediation, by: User, **facts) -> ExceptionRecord:
    values = {
        "reason": "The vendor closes it in December.",
        "compensating_control": "Its calls are watched and alert.",
        "expires_at": clock.now() + timedelta(days=20),
    }
    return reviews.request_exception(actor=make.acting(by), remediation=row, **(values | facts))


def approve(exception: ExceptionRecord, by: User) -> ExceptionRecord:
    return reviews.approve_exception(actor=make.acting(by), exception=exception)


def owner_of(row: Remediation) -> User:
    return row.item.subject.server.owner


def with_roles(user: User, *roles: str) -> User:
    user.roles = list(roles)
    user.save()
    return user


class TestAsking:
    def test_asking_changes_nothing_and_tells_security(self, unverified, security):
        exception = ask(unverified, owner_of(unverified))
        unverified.refresh_from_db()
        assert (unverified.state, exception.state) == ("not_verified", "requested")
        assert security in {letter.to for letter in Letter.objects.filter(key__startswith="exception-requested:")}

    def test_who_may_ask(self, unverified):
        for somebody in (make.person(), make.person("reviewer"), make.person("auditor")):
            with pytest.raises(NotAllowed):
                ask(unverified, somebody)
        with pytest.raises(NotAllowed):
            ask(unverified, make.outsider())
        with pytest.raises(NotSignedIn):
            reviews.request_exception(
                actor=Actor.anonymous(),
                remediation=unverified,
                reason="No",
                compensating_control="No",
                expires_at=clock.now() + timedelta(days=1),
            )
        assert ask(unverified, unverified.item.subject.agent.owner).requested_by_id

    @pytest.mark.parametrize("tier", ["critical", "high", "medium", "low"])
    def test_the_tier_says_how_long_at_most(self, unverified, tier):
        with pgtrigger.ignore("reviews.Item:outcome_is_final"):
            type(unverified.item).objects.filter(pk=unverified.item_id).update(tier=tier)
        last = clock.today() + timedelta(days={"critical": 30, "high": 90, "medium": 180, "low": 365}[tier])
        owner = owner_of(unverified)
        with pytest.raises(Invalid) as refused:
            ask(unverified, owner, expires_at=end_of_day(last + timedelta(days=1)))
        assert tier in refused.value.fields["expires_at"][0]
        assert ask(unverified, owner, expires_at=end_of_day(last)).expires_at.date() == last
        assert LIMIT_DAYS[tier] == (last - clock.today()).days

    @pytest.mark.parametrize(
        ("facts", "field"),
        [
            ({"reason": " "}, "reason"),
            ({"compensating_control": ""}, "compensating_control"),
            ({"expires_at": clock.now() - timedelta(days=1)}, "expires_at"),
        ],
    )
    def test_what_a_request_must_not_be(self, unverified, facts, field):
        with pytest.raises(Invalid) as refused:
            ask(unverified, owner_of(unverified), **facts)
        assert list(refused.value.fields) == [field]

    def test_a_secret_is_refused_without_echo(self, unverified):
        with pytest.raises(SecretRefused) as refused:
            ask(unverified, owner_of(unverified), compensating_control="password=hunter2hunter2")
        assert "hunter2" not in str(refused.value.fields)

    def test_one_at_a_time(self, unverified):
        ask(unverified, owner_of(unverified))
        with pytest.raises(Conflict):
            ask(unverified, owner_of(unverified))

    def test_not_from_what_is_gone(self, unverified, security):
        reviews.confirm_remediation(actor=make.acting(security), remediation=unverified, proof="Now it is gone.")
        with pytest.raises(IllegalTransition):
            ask(unverified, owner_of(unverified))


class TestDeciding:
    def test_approved_the_campaign_is_complete_with_exceptions(self, unverified, security):
        approve(ask(unverified, owner_of(unverified)), security)
        unverified.refresh_from_db()
        assert unverified.state == "exception"
        assert Campaign.objects.get().state == "completed_with_exceptions"

    def test_refused_it_stays_to_be_done(self, unverified, security):
        exception = ask(unverified, owner_of(unverified))
        with pytest.raises(Invalid):
            reviews.refuse_exception(actor=make.acting(security), exception=exception, reason=" ")
        refused = reviews.refuse_exception(actor=make.acting(security), exception=exception, reason="Close it now.")
        unverified.refresh_from_db()
        assert (refused.state, unverified.state) == ("refused", "not_verified")
        assert Campaign.objects.get().state == "remediating"
        assert ask(unverified, owner_of(unverified)).state == "requested", "one may ask again"

    def test_not_whoever_asked(self, unverified, security):
        exception = ask(unverified, security)
        with pytest.raises(NotIndependent, match="asked"):
            approve(exception, security)
        with pytest.raises(NotIndependent, match="asked"):
            reviews.refuse_exception(actor=make.acting(security), exception=exception, reason="No")

    def test_not_whoever_decided_the_item(self, unverified, reviewer):
        exception = ask(unverified, owner_of(unverified))
        with_roles(reviewer, "reviewer", "security")
        with pytest.raises(NotIndependent, match="decided"):
            approve(exception, reviewer)

    @pytest.mark.parametrize("who", ["owner", "deputy", "agent_owner", "requester"])
    def test_not_somebody_with_a_stake(self, unverified, who):
        grant = unverified.item.subject
        person = {
            "owner": grant.server.owner,
            "deputy": grant.server.deputy,
            "agent_owner": grant.agent.owner,
            "requester": grant.requested_by,
        }[who]
        exception = ask(unverified, unverified.item.campaign.owner)
        with pytest.raises(NotIndependent):
            approve(exception, with_roles(person, "security"))

    def test_only_security(self, unverified):
        exception = ask(unverified, owner_of(unverified))
        for somebody in (make.person(), make.person("administrator"), unverified.item.campaign.owner):
            with pytest.raises(NotAllowed):
                approve(exception, somebody)
        with pytest.raises(NotIndependent):
            reviews.approve_exception(actor=Actor.system("clock"), exception=exception)

    def test_once(self, unverified, security):
        exception = ask(unverified, owner_of(unverified))
        approve(exception, security)
        with pytest.raises(IllegalTransition):
            approve(exception, make.person("security"))

    def test_the_database_wants_another_person(self, unverified):
        exception = ask(unverified, owner_of(unverified))
        with pytest.raises(IntegrityError), transaction.atomic():
            ExceptionRecord.objects.filter(pk=exception.pk).update(
                approver=exception.requested_by, approved_at=clock.now()
            )
        with pytest.raises(IntegrityError), transaction.atomic():
            ExceptionRecord.objects.filter(pk=exception.pk).update(approved_at=clock.now())

    def test_nothing_is_approved_after_its_time(self, unverified, security):
        exception = ask(unverified, owner_of(unverified), expires_at=clock.now() + timedelta(days=1))
        with clock.at(clock.now() + timedelta(days=2)), pytest.raises(Conflict, match="over"):
            approve(exception, security)


class TestEnding:
    @pytest.fixture
    def excepted(self, unverified, security) -> ExceptionRecord:
        return approve(ask(unverified, owner_of(unverified)), security)

    def test_it_expires_by_the_clock(self, excepted):
        with clock.at(excepted.expires_at - timedelta(minutes=1)):
            assert reviews.follow_up(now=clock.now()) == 0
        with clock.at(excepted.expires_at):
            assert reviews.follow_up(now=clock.now()) == 1
            assert reviews.follow_up(now=clock.now()) == 0
        excepted.refresh_from_db()
        row = excepted.remediation
        row.refresh_from_db()
        assert (excepted.state, excepted.ended_because) == ("closed", "Its time was over.")
        assert (row.state, row.round) == ("verifying", 2)
        assert Trigger.objects.get().cause == "exception_expired"

    def test_what_was_let_through_is_cut_and_uncertified_when_it_expires(self, reviewer, security):
        """Access that was given back without a review, and excepted then: it ends with its exception."""
        grant = make.grant()
        campaign = make.campaign(reviewer, kinds=["grant"])
        make.decide(campaign.items.get(), "revoke")
        make.sign(campaign, reviewer)
        row = reviews.confirm_remediation(
            actor=make.acting(security), remediation=Remediation.objects.get(), proof="Gone."
        )
        again = make.grant(server=grant.server, agent=grant.agent)
        reviews.find_regressions()
        exception = approve(ask(row, grant.server.owner), security)
        row.refresh_from_db()
        again.refresh_from_db()
        assert (row.state, again.status) == ("exception", "active")
        Trigger.objects.update(handled_at=clock.now())
        with clock.at(exception.expires_at):
            reviews.follow_up(now=clock.now())
        row.refresh_from_db()
        again.refresh_from_db()
        assert (row.state, again.status, again.certified_until) == ("verifying", "revoked", None)
        trigger = Trigger.objects.get(cause="exception_expired")
        assert trigger.grant == again
        assert not Certificate.objects.filter(ended_at=None).exists()

    def test_a_request_nobody_answered_just_ends(self, unverified):
        exception = ask(unverified, owner_of(unverified))
        with clock.at(exception.expires_at):
            reviews.follow_up(now=clock.now())
        exception.refresh_from_db()
        unverified.refresh_from_db()
        assert (exception.state, unverified.state) == ("withdrawn", "not_verified")
        assert not Trigger.objects.exists()

    def test_it_can_be_given_up_before(self, excepted, security):
        for somebody in (make.person(), make.person("administrator")):
            with pytest.raises(NotAllowed):
                reviews.end_exception(actor=make.acting(somebody), exception=excepted, reason="No")
        with pytest.raises(Invalid):
            reviews.end_exception(actor=make.acting(excepted.requested_by), exception=excepted, reason=" ")
        ended = reviews.end_exception(
            actor=make.acting(excepted.requested_by), exception=excepted, reason="The vendor was early."
        )
        row = Remediation.objects.get()
        assert (ended.state, row.state) == ("closed", "verifying")
        with pytest.raises(IllegalTransition):
            reviews.end_exception(actor=make.acting(security), exception=excepted, reason="Again")

    def test_a_request_is_taken_back_by_whoever_made_it(self, unverified, security):
        exception = ask(unverified, owner_of(unverified))
        with pytest.raises(Conflict, match="refuse"):
            reviews.end_exception(actor=make.acting(security), exception=exception, reason="No")
        reviews.end_exception(actor=make.acting(exception.requested_by), exception=exception, reason="Done already.")
        unverified.refresh_from_db()
        assert unverified.state == "not_verified"

    def test_seeing_it_gone_ends_with_a_new_round(self, excepted, security):
        """While an exception is in force an attestation has nothing to move; what is seen stays on record."""
        row = excepted.remediation
        with pytest.raises(IllegalTransition):
            reviews.confirm_remediation(actor=make.acting(security), remediation=row, proof="It is gone by itself.")
        reviews.record_observation(
            actor=Actor.system("discovery"),
            remediation=row,
            source="discovery",
            confirmed=True,
            observed_at=clock.now(),
            proof="401",
        )
        row.refresh_from_db()
        assert row.state == "exception"
        assert Grant.objects.get().status == "revoked"
