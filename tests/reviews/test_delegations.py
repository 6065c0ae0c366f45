"""Out of office: who may say who stands in, what moves, what stays and why."""

from datetime import timedelta

import pytest

from registry.audit.models import Event
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Changed, Conflict, Invalid, NotAllowed, NotSignedIn, SecretRefused
from registry.reviews import services as reviews
from registry.reviews.absence import stand_in
from registry.reviews.events import DelegationStarted
from registry.reviews.models import Delegation, WorkItem, WorkItemMove
from registry.reviews.services import delegations
from tests import factories as make

pytestmark = pytest.mark.django_db


def day(offset: int):
    return clock.today() + timedelta(days=offset)


@pytest.fixture
def away():
    return make.person("reviewer", name="Ann Away")


@pytest.fixture
def deputy():
    return make.person("reviewer", name="Dan Deputy")


def delegate(away, deputy, starts=0, ends=7, *, by=None, **facts) -> Delegation:
    return reviews.create_delegation(
        actor=by or make.acting(away),
        delegator=away,
        delegate=deputy,
        starts_on=day(starts),
        ends_on=day(ends),
        **facts,
    )


class TestWho:
    def test_oneself_or_an_administrator(self, away, deputy):
        assert delegate(away, deputy, 1, 2)
        assert delegate(away, deputy, 3, 4, by=make.acting(make.person("administrator")))
        for somebody in (deputy, make.person("campaign_manager"), make.person("security"), make.outsider()):
            with pytest.raises(NotAllowed):
                delegate(away, deputy, 5, 6, by=make.acting(somebody))
        with pytest.raises(NotSignedIn):
            delegate(away, deputy, 5, 6, by=Actor.anonymous())

    def test_whoever_has_no_role_has_nothing_to_hand_on(self, deputy):
        outsider = make.outsider()
        with pytest.raises(NotAllowed):
            delegate(outsider, deputy)

    def test_ending_it_is_theirs_as_well(self, away, deputy):
        made = delegate(away, deputy)
        with pytest.raises(NotAllowed):
            reviews.end_delegation(actor=make.acting(deputy), delegation=made)
        with pytest.raises(Changed):
            reviews.end_delegation(actor=make.acting(away), delegation=made, expected_version='"other"')
        ended = reviews.end_delegation(actor=make.acting(away), delegation=made, expected_version=made.etag)
        assert ended.ended_at is not None
        with pytest.raises(Conflict):
            reviews.end_delegation(actor=make.acting(away), delegation=made)
        assert list(Event.objects.filter(subject_id=made.pk).order_by("at").values_list("act", flat=True)) == [
            "delegation.created",
            "delegation.ended",
        ]


class TestWhat:
    @pytest.mark.parametrize(("starts", "ends", "field"), [(3, 1, "ends_on"), (-9, -1, "ends_on"), (0, 400, "ends_on")])
    def test_days(self, away, deputy, starts, ends, field):
        with pytest.raises(Invalid) as refused:
            delegate(away, deputy, starts, ends)
        assert list(refused.value.fields) == [field]

    def test_the_stand_in_is_somebody_else_who_is_there_and_reviews(self, away):
        for somebody in (away, make.person(), make.person("auditor"), make.person("reviewer", active=False)):
            with pytest.raises(Invalid) as refused:
                delegate(away, somebody)
            assert list(refused.value.fields) == ["delegate"]

    def test_no_secret_in_the_note(self, away, deputy):
        with pytest.raises(SecretRefused):
            delegate(away, deputy, note="password=hunter2hunter2")

    def test_two_of_one_person_never_overlap(self, away, deputy):
        delegate(away, deputy, 3, 5)
        for starts, ends in ((0, 3), (4, 4), (5, 9), (0, 9)):
            with pytest.raises(Invalid) as refused:
                delegate(away, make.person("reviewer"), starts, ends)
            assert list(refused.value.fields) == ["starts_on"]
        assert delegate(away, make.person("reviewer"), 6, 9)

    def test_one_that_was_ended_is_in_nobodys_way(self, away, deputy):
        reviews.end_delegation(actor=make.acting(away), delegation=delegate(away, deputy))
        assert delegate(away, deputy)

    def test_nobodys_stand_in_has_a_stand_in(self, away, deputy):
        third = make.person("reviewer", name="Third")
        delegate(away, deputy, 0, 5)
        with pytest.raises(Invalid) as refused:
            delegate(deputy, third, 5, 9)
        assert "stands in for Ann Away" in refused.value.fields["delegator"][0]
        with pytest.raises(Invalid) as refused:
            delegate(third, away, 5, 9)
        assert "away themselves" in refused.value.fields["delegate"][0]
        assert delegate(deputy, third, 6, 9)

    def test_who_stands_in_on_a_day(self, away, deputy):
        made = delegate(away, deputy, 1, 3)
        assert [stand_in(away, day(n)) for n in (0, 1, 3, 4)] == [None, deputy, deputy, None]
        assert stand_in(deputy, day(1)) is None
        deputy.is_active = False
        deputy.save()
        assert stand_in(away, day(1)) is None, "whoever left stands in for nobody"
        deputy.is_active = True
        deputy.save()
        reviews.end_delegation(actor=make.acting(away), delegation=made)
        assert stand_in(away, day(1)) is None


class TestReviews:
    @pytest.fixture
    def campaign(self, away, deputy):
        """Three grants of one server in the hands of whoever goes away; the stand-in asked for one of them."""
        server = make.active_server()
        make.grant(server=server)
        make.grant(server=server)
        make.grant(server=server, requested_by=deputy)
        return make.campaign(away, kinds=["grant"], scope={"q": server.name})

    def held(self, person) -> int:
        return WorkItem.objects.filter(reviewer=person, state__in=["open", "responded"]).count()

    def test_what_is_undecided_moves_at_once_where_the_stand_in_is_independent(self, campaign, away, deputy):
        made = delegate(away, deputy, note="Surgery.")
        assert (self.held(deputy), self.held(away)) == (2, 1)
        moves = WorkItemMove.objects.all()
        assert {(m.kind, m.from_reviewer, m.to_reviewer, m.by) for m in moves} == {("delegated", away, deputy, away)}
        moved = WorkItem.objects.filter(reviewer=deputy).first()
        assert (moved.original_reviewer, moved.chosen_because) == (away, "Stands in for Ann Away.")
        ((work_item, why),) = reviews.staying(made)
        assert work_item.reviewer == away
        assert why.endswith("Dan Deputy requested it.")

    def test_the_stand_in_decides_and_signs_in_their_own_name(self, campaign, away, deputy):
        delegate(away, deputy)
        for work_item in WorkItem.objects.filter(reviewer=deputy):
            make.decide(work_item.item)
        signature = make.sign(campaign, deputy)
        assert (signature.reviewer, signature.decision_count) == (deputy, 2)

    def test_a_draft_stays_with_its_author(self, campaign, away, deputy):
        decided = campaign.items.exclude(grant__requested_by=deputy).first()
        make.decide(decided)
        made = delegate(away, deputy)
        assert make.work_of(decided).reviewer == away
        assert (self.held(deputy), len(reviews.staying(made))) == (1, 1)

    def test_it_starts_on_its_day_and_again_moves_nothing(self, campaign, away, deputy):
        delegate(away, deputy, 2, 4)
        assert reviews.start_delegations(today=day(1)) == 0
        assert reviews.start_delegations(today=day(2)) == 2
        assert reviews.start_delegations(today=day(2)) == 0
        assert WorkItemMove.objects.count() == 2

    def test_what_reaches_them_later_moves_with_the_next_run(self, campaign, away, deputy):
        other = make.person("reviewer")
        item = campaign.items.exclude(grant__requested_by=deputy).first()
        manager = make.acting(campaign.owner)
        reviews.reassign_work_item(actor=manager, work_item=make.work_of(item), to=other, note="You")
        delegate(away, deputy)
        reviews.reassign_work_item(actor=manager, work_item=make.work_of(item), to=away, note="Back to you")
        assert reviews.start_delegations(today=day(0)) == 1
        assert make.work_of(item).reviewer == deputy

    def test_not_after_it_ended(self, campaign, away, deputy):
        made = delegate(away, deputy, 1, 2)
        reviews.end_delegation(actor=make.acting(away), delegation=made)
        assert reviews.start_delegations(today=day(1)) == 0
        assert reviews.start_delegations(today=day(9)) == 0

    def test_a_great_many_move_in_the_background(
        self, campaign, away, deputy, monkeypatch, django_capture_on_commit_callbacks
    ):
        told = []
        monkeypatch.setattr(delegations, "CHUNK", 1)
        monkeypatch.setattr(delegations, "publish", told.append)
        delegate(away, deputy)
        assert told == [DelegationStarted()]
        assert self.held(deputy) <= 1
        reviews.start_delegations(today=day(0))
        assert (self.held(deputy), self.held(away)) == (2, 1)

    def test_new_campaigns_ask_the_stand_in(self, away, deputy):
        delegate(away, deputy)
        server = make.active_server()
        item = make.campaign(away, kinds=["server"], scope={"q": server.name}).items.get()
        held = make.work_of(item)
        assert (held.reviewer, held.original_reviewer) == (deputy, away)

    def test_the_number_of_queries_does_not_grow_with_what_stays(
        self, campaign, away, deputy, django_assert_num_queries
    ):
        made = delegate(away, deputy)
        with django_assert_num_queries(4):
            assert len(reviews.staying(made)) == 1
        WorkItem.objects.filter(reviewer=deputy).update(reviewer=away)
        deputy.roles = []
        deputy.save()
        made.refresh_from_db()
        with django_assert_num_queries(5):  # and the delegate
            assert len(reviews.staying(made)) == 3
