"""Whoever has to decide hears at once that it waits, once; whoever loses access without warning hears of it after."""

from datetime import timedelta

import pytest

from registry.audit.models import Event
from registry.catalog import services as catalog
from registry.core import clock
from registry.core.actors import Actor
from registry.reviews import services as reviews
from registry.reviews import tasks
from registry.reviews.models import Campaign, Letter, Remediation, Trigger, WorkItem
from registry.reviews.services.openings import tell_reviewers
from registry.reviews.services.triggers import raise_trigger
from tests import factories as make

pytestmark = pytest.mark.django_db


def letters(person):
    return list(Letter.objects.filter(to=person, key__startswith="opened ").order_by("written_at", "id"))


@pytest.fixture
def ann():
    return make.person("reviewer", name="Ann")


class TestStart:
    def test_each_reviewer_has_one_letter_with_what_waits(self, ann):
        ben, idle = make.person("reviewer", name="Ben"), make.person("reviewer", name="Ida")
        for _number in range(4):
            make.active_server(owner=idle)
        campaign = make.campaign(ann, ben, kinds=["server"], instructions="Writes first.")
        assert tell_reviewers() == 2
        (letter,) = letters(ann)
        assert letter.subject == f"2 reviews wait for you until {campaign.due_at:%A %-d %B}: {campaign.name}"
        for said in ("2 items wait", "about 3 min", "Writes first.", f"/reviews/{campaign.pk}/workbench/"):
            assert said in letter.text, said
        assert not letters(idle)
        assert tell_reviewers() == 0, "told once"
        event = Event.objects.get(act="campaign.reviewers_told")
        assert event.data == {"stage": 1, "reviewers": 2}

    def test_counts_what_is_critical(self, ann):
        security = make.acting(make.person("security"))
        catalog.override_tier(actor=security, server=make.active_server(), tier="critical", reason="For the test.")
        make.active_server()
        make.campaign(ann, kinds=["server"])
        tell_reviewers()
        assert "1 is critical" in letters(ann)[0].text

    def test_not_while_it_waits_at_the_gate(self, ann):
        server = make.active_server(owner=ann)
        campaign = make.campaign(ann, kinds=["server"])
        assert campaign.state == "staged"
        assert tell_reviewers() == 0
        ben = make.person("reviewer", name="Ben")
        reviews.assign_reviewer(actor=make.acting(campaign.owner), item=campaign.items.get(server=server), to=ben)
        reviews.activate_campaign(actor=make.acting(campaign.owner), campaign=campaign)
        assert tell_reviewers() == 1
        assert len(letters(ben)) == 1

    def test_whoever_was_told_is_not_told_again_after_a_crash(self, ann, monkeypatch):
        """Letters and the mark that they are written are one transaction."""
        make.active_server()
        make.campaign(ann, kinds=["server"])
        with monkeypatch.context() as patched:
            patched.setattr("registry.reviews.services.openings.record_all", lambda _events: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                tell_reviewers()
        assert not letters(ann)
        assert tell_reviewers() == 1

    def test_the_mail_is_asked_for_when_it_starts(self, ann, django_capture_on_commit_callbacks, monkeypatch):
        asked = []
        monkeypatch.setattr(tasks.tell_reviewers, "apply_async", lambda **facts: asked.append(facts))
        make.active_server()
        with django_capture_on_commit_callbacks(execute=True):
            make.campaign(ann, kinds=["server"])
        assert asked

    def test_the_number_of_queries_grows_neither_with_items_nor_with_reviewers(self, ann, django_assert_num_queries):
        people = [make.person("reviewer") for _number in range(5)]
        make.active_server()
        make.campaign(ann, kinds=["server"])
        with django_assert_num_queries(FEW):
            tell_reviewers()
        for _number in range(12):
            make.active_server()
        make.campaign(*people, name="Another", kinds=["server"])
        with django_assert_num_queries(FEW):
            assert tell_reviewers() == 5


FEW = 12


class TestStages:
    def test_the_next_stage_is_told_to_its_own(self, ann):
        ben = make.person("reviewer", name="Ben")
        make.active_server()
        stages = [{"reviewers": [ann], "name": "First"}, {"reviewers": [ben], "name": "Second look"}]
        campaign = make.campaign(stages=stages, kinds=["server"])
        tell_reviewers()
        assert (len(letters(ann)), len(letters(ben))) == (1, 0)
        make.decide(campaign.items.get())
        make.sign(campaign, ann)
        assert tell_reviewers() == 1
        assert (len(letters(ann)), len(letters(ben))) == (1, 1)
        assert "Stage 2 of 2: Second look" in letters(ben)[0].text

    def test_not_before_all_items_have_followed(self, ann):
        make.active_server()
        campaign = make.campaign(ann, kinds=["server"])
        tell_reviewers()
        Campaign.objects.filter(pk=campaign.pk).update(stage=2)
        assert tell_reviewers() == 0


class TestSingleReviews:
    def test_several_of_one_person_are_one_letter(self, ann):
        make.template(ann, kinds=["server"], for_changes=True)
        servers = [make.active_server(), make.active_server()]
        for server in servers:
            raise_trigger(
                actor=Actor.system("test"), cause=Trigger.Cause.REGRESSED, kind="server", subject_id=server.pk
            )
            campaign = reviews.gather_triggers(now=clock.now())
            reviews.generate_items(campaign_id=campaign.pk)
        assert WorkItem.objects.filter(reviewer=ann).count() == 2
        assert tell_reviewers() == 1
        (letter,) = letters(ann)
        assert letter.subject.startswith("2 reviews wait for you, the first until ")
        assert all(server.name in letter.text for server in servers)
        assert "/reviews/inbox/" in letter.text

    def test_a_registration_too(self, ann):
        server = make.submitted_server()
        make.intake(server)
        assert tell_reviewers() == 1
        assert server.name in letters(ann)[0].subject


class TestAfterwards:
    @pytest.fixture
    def revoked(self, ann):
        grants = [make.grant(server=(server := make.active_server())), make.grant(server=server)]
        campaign = make.campaign(ann, kinds=["grant"], challenge_days=0)
        for item in campaign.items.all():
            make.decide(item, "revoke", reason="Nobody uses it.")
        make.sign(campaign, ann)
        return grants

    def test_whose_access_went_without_warning_hears_of_it_once(self, revoked):
        owner = revoked[0].server.owner
        concerned = {owner, revoked[0].server.deputy, *(grant.agent.owner for grant in revoked)}
        assert reviews.tell_of_cuts(now=clock.now()) == len(concerned)
        letter = Letter.objects.get(to=owner, key__startswith="cut ")
        assert letter.subject == "Access was taken away from 2 things of yours"
        assert "Nobody uses it." in letter.text
        assert reviews.tell_of_cuts(now=clock.now()) == 0
        assert not Remediation.objects.filter(told_at=None).exists()

    def test_who_could_object_was_told_before(self, ann):
        make.grant()
        campaign = make.campaign(ann, kinds=["grant"], challenge_days=5)
        make.decide(campaign.items.get(), "revoke", reason="Nobody uses it.")
        make.sign(campaign, ann)
        assert reviews.tell_of_cuts(now=clock.now()) == 0
        with clock.at(clock.now() + timedelta(days=6)):
            reviews.follow_up(now=clock.now())
            assert reviews.tell_of_cuts(now=clock.now()) == 0
