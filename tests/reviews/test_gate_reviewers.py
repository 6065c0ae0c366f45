"""What the launch gate says when people are missing, and that naming them by hand adds to who is there."""

import pytest
from django.urls import reverse

from registry.core.errors import Invalid, NotAllowed
from registry.reviews import services as reviews
from registry.reviews.gate import gate
from registry.reviews.models import Letter
from registry.reviews.preview import preview
from registry.reviews.waiting import waiting
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann():
    return make.person("reviewer", name="Ann")


@pytest.fixture
def ben():
    return make.person("reviewer", name="Ben")


def holders(item):
    return {work.reviewer.name for work in item.work_items.exclude(state="closed").select_related("reviewer")}


class TestOneOfTwo:
    @pytest.fixture
    def campaign(self, ann):
        owner = make.person("reviewer", name="Olga")
        make.active_server(owner=owner)
        return make.campaign(ann, owner, kinds=["server"], reviewers_per_item=2)

    def test_says_what_is_missing_and_not_that_nobody_is_there(self, campaign, web):
        (problem,) = gate(campaign).problems
        assert problem == "1 item has fewer independent reviewers than the 2 that are asked for."
        page = web(campaign.owner).get(reverse("reviews:campaign", args=[campaign.pk])).content.decode()
        assert "1 of 2 reviewers" in page and "Add a reviewer" in page
        assert "Everybody in the pool" not in page
        (row,) = waiting(make.acting(campaign.owner))
        assert row.detail == "1 item has fewer reviewers than are asked for: name somebody"

    def test_the_preview_says_the_same(self, campaign):
        reviews.cancel_campaign(actor=make.acting(campaign.owner), campaign=campaign, reason="Try again.")
        found = preview(campaign.template)
        assert (found.without_count, found.nobody_count, found.asked) == (1, 0, 2)

    def test_choosing_adds_and_replaces_nobody(self, campaign, ann, ben, web):
        item = campaign.items.get()
        address = reverse("reviews:hand_over", args=[campaign.pk, item.pk])
        browser = web(campaign.owner)
        assert "Choose a reviewer" in browser.get(address).content.decode()
        assert browser.post(address, {"to": str(ben.pk), "note": "The second one."}).status_code == 302
        item.refresh_from_db()
        assert (item.state, holders(item)) == ("in_review", {"Ann", "Ben"})
        assert gate(campaign).passes

    def test_over_rest_too(self, campaign, ann, ben, api):
        item = campaign.items.get()
        answer = api(campaign.owner).post(
            f"/api/v1/items/{item.pk}/hand-over",
            {"to": str(ben.pk), "note": "The second one."},
            format="json",
        )
        assert answer.status_code in (200, 204), answer.content
        assert holders(item) == {"Ann", "Ben"}

    def test_looking_again_fills_up_to_the_number(self, campaign, ben):
        campaign.template.first_stage.reviewers.add(ben)
        assert reviews.retry_assignment(actor=make.acting(campaign.owner), campaign=campaign) == 1
        assert holders(campaign.items.get()) == {"Ann", "Ben"}


class TestThreeAsked:
    @pytest.fixture
    def campaign(self, ann):
        owner, deputy = make.person("reviewer"), make.person("reviewer")
        make.active_server(owner=owner, deputy=deputy)
        return make.campaign(ann, owner, deputy, kinds=["server"], reviewers_per_item=3)

    def test_naming_one_of_two_who_are_missing_goes_on_waiting_and_says_so(self, campaign, ben, web):
        item = campaign.items.get()
        told = web(campaign.owner).post(
            reverse("reviews:hand_over", args=[campaign.pk, item.pk]),
            {"to": str(ben.pk), "note": "Second."},
            follow=True,
        )
        assert "It still lacks 1 reviewer." in told.content.decode()
        item.refresh_from_db()
        assert item.state == "pending"
        assert not gate(campaign).passes
        reviews.assign_reviewer(actor=make.acting(campaign.owner), item=item, to=make.person("reviewer"))
        item.refresh_from_db()
        assert item.state == "in_review"
        assert gate(campaign).passes

    def test_looking_again_does_not_pass_with_too_few(self, campaign, ben):
        campaign.template.first_stage.reviewers.add(ben)
        reviews.retry_assignment(actor=make.acting(campaign.owner), campaign=campaign)
        campaign.refresh_from_db()
        assert (campaign.items.get().state, campaign.state) == ("pending", "staged")


class TestSeveralAtOnce:
    @pytest.fixture
    def campaign(self, ann, ben):
        for _number in range(21):
            make.active_server(owner=ann)
        make.active_server(owner=ann, deputy=ben)
        return make.campaign(ann, kinds=["server"])

    def test_the_page_lists_all_and_the_gate_the_first(self, campaign, web):
        browser = web(campaign.owner)
        page = browser.get(reverse("reviews:campaign", args=[campaign.pk])).content.decode()
        address = reverse("reviews:campaign_assign", args=[campaign.pk])
        assert "20 of 22 are shown" in page and address in page
        assert browser.get(address).content.decode().count('name="item"') == 22

    def test_one_person_for_several_each_asked_by_itself(self, campaign, ben, web):
        ids = [str(pk) for pk in campaign.items.values_list("pk", flat=True)]
        told = web(campaign.owner).post(
            reverse("reviews:campaign_assign", args=[campaign.pk]), {"item": ids, "to": str(ben.pk)}, follow=True
        )
        page = told.content.decode()
        assert "Ben has 21 items now." in page
        assert "deputises for its owner" in page
        (left,) = campaign.items.filter(state="pending")
        assert left.server.deputy == ben

    def test_all_of_them_without_naming_each(self, campaign, web):
        cleo = make.person("reviewer", name="Cleo")
        address = reverse("reviews:campaign_assign", args=[campaign.pk])
        assert web(campaign.owner).post(address, {"every": "on", "to": str(cleo.pk)}).status_code == 302
        assert gate(campaign).passes

    def test_none_chosen_or_not_theirs_to_assign(self, campaign, ben, web):
        address = reverse("reviews:campaign_assign", args=[campaign.pk])
        assert web(campaign.owner).post(address, {"to": str(ben.pk)}).status_code == 422
        with pytest.raises(Invalid):
            reviews.assign_reviewers(actor=make.acting(campaign.owner), campaign=campaign, items=[], to=ben)
        with pytest.raises(NotAllowed):
            reviews.assign_reviewers(actor=make.acting(ben), campaign=campaign, items=[], to=ben)
        assert web(ben).get(address).status_code == 403

    def test_over_rest(self, campaign, ben, api):
        ids = [str(pk) for pk in campaign.items.values_list("pk", flat=True)]
        answer = api(campaign.owner).post(
            f"/api/v1/campaigns/{campaign.pk}/assign-reviewer",
            {"items": ids, "to": str(ben.pk)},
            format="json",
        )
        assert answer.status_code == 200, answer.content
        told = answer.json()
        assert len(told["assigned"]) == 21
        assert "deputises" in told["refused"][0]["reason"]

    def test_the_list_asks_a_fixed_number_of_questions(self, campaign, web, django_assert_max_num_queries):
        browser = web(campaign.owner)
        address = reverse("reviews:campaign_assign", args=[campaign.pk])
        with django_assert_max_num_queries(25):
            browser.get(address)


def test_somebody_found_while_it_runs_is_told(ann, ben):
    make.active_server()
    campaign = make.campaign(ann, kinds=["server"])
    item = campaign.items.get()
    reviews.recuse_work_item(actor=make.acting(ann), work_item=make.work_of(item), reason="My brother wrote it.")
    campaign.template.first_stage.reviewers.add(ben)
    assert reviews.retry_assignment(actor=make.acting(campaign.owner), campaign=campaign) == 1
    assert Letter.objects.filter(to=ben, key__startswith="handed ").exists()
