"""What a reviewer typed and did not save: it outlives page and session, is nobody else's, and counts nowhere."""

from datetime import timedelta

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from playwright.sync_api import expect

from registry.audit.models import Event
from registry.catalog import services as catalog
from registry.core import clock
from registry.core.errors import Changed, Conflict, NotAllowed, SecretRefused
from registry.core.secrets import find_secret_values
from registry.reviews import services as reviews
from registry.reviews.facts import evidence_of
from registry.reviews.models import Decision, FirstChoice, UnfinishedAnswer, WorkItem
from registry.reviews.services.items import review_version
from registry.reviews.services.watch import check_items
from registry.reviews.states import WorkItemState
from tests import factories as make
from tests.browser import press

pytestmark = pytest.mark.django_db

TOOLS = [{"name": "query", "confirmed_class": "read"}, {"name": "purge", "confirmed_class": "destructive"}]
SECRET = "the key is AKIAIOSFODNN7EXAMPLE now"


@pytest.fixture
def reviewer():
    return make.person("reviewer", name="Rita Reviewer")


@pytest.fixture
def held(reviewer):
    """The work item of a grant of two tools."""
    server = make.active_server(tools=TOOLS)
    make.grant(server=server, all_tools=False, tools=["query", "purge"])
    campaign = make.campaign(reviewer, kinds=["grant"])
    return WorkItem.objects.get(item__campaign=campaign)


def keep(held, **said):
    return reviews.keep_unfinished(actor=make.acting(held.reviewer), work_item=held, **said)


def address(name, held):
    return reverse(f"reviews:{name}", args=[held.item.campaign_id, held.item_id])


def send(client, held, **said):
    data = {"version": review_version(WorkItem.objects.get(pk=held.pk)), **said}
    return client.post(address("unfinished", held), data)


def looks(client, held):
    return client.get(address("item", held)).content.decode()


def checked(page, value):
    return f'value="{value}"' in page and "checked" in page.split(f'value="{value}"')[1].split(">")[0]


class TestKept:
    def test_it_is_there_when_one_comes_back(self, client, reviewer, held):
        client.force_login(reviewer)
        day = clock.today() + timedelta(days=9)
        answer = send(
            client, held, value="certify_until", reason="Asked Ann", until=day.isoformat(), kept="query", switches="1"
        )
        assert answer.status_code == 200
        assert answer.json()["words"].startswith("Kept at ")
        page = looks(client, held)
        assert "Your unfinished answer from" in page
        assert "Asked Ann" in page
        assert checked(page, "certify_until")
        assert day.isoformat() in page
        assert checked(page, "query")
        assert not checked(page, "purge")

    def test_it_outlives_the_session(self, client, reviewer, held):
        client.force_login(reviewer)
        send(client, held, value="revoke", reason="Nobody needs it")
        client.logout()
        lost = send(client, held, value="revoke", reason="Nobody needs it any more")
        assert lost.status_code == 302
        assert reverse("accounts:sign_in") in lost["Location"]
        client.force_login(reviewer)
        page = looks(client, held)
        assert "Nobody needs it</textarea>" in page
        assert checked(page, "revoke")

    def test_everything_switched_off_stays_off(self, client, reviewer, held):
        client.force_login(reviewer)
        send(client, held, value="certify_reduced", switches="1")
        page = looks(client, held)
        assert not checked(page, "query")
        assert not checked(page, "purge")

    def test_it_is_neither_an_answer_nor_an_edit(self, reviewer, held):
        version, events = review_version(held), Event.objects.count()
        keep(held, value="revoke", reason="Nobody needs it")
        held.refresh_from_db()
        assert review_version(held) == version
        assert held.state == WorkItemState.OPEN
        assert not Decision.objects.exists()
        assert not FirstChoice.objects.exists()
        assert Event.objects.count() == events

    def test_a_recommendation_waits_for_an_answer_that_is_saved(self, client, reviewer):
        server = make.active_server(tools=TOOLS, data_classes=("restricted",))
        make.connection(server=server, system=make.system(data_class="restricted"), access="write")
        held = WorkItem.objects.get(item__campaign=make.campaign(reviewer, kinds=["server"]))
        assert held.item.tier in ("high", "critical")
        client.force_login(reviewer)
        send(client, held, value="certify", reason="Looks fine")
        assert client.get(address("item", held)).context["recommendation"] is None

    def test_a_form_that_says_nothing_is_not_kept(self, reviewer, held):
        keep(held, value="revoke", reason="Nobody needs it")
        assert keep(held, kept=["query", "purge"]) is None
        assert not UnfinishedAnswer.objects.exists()

    def test_an_edit_of_a_saved_answer_is_kept_beside_it(self, client, reviewer, held):
        make.decide(held.item, value="revoke", reason="Nobody needs it")
        client.force_login(reviewer)
        assert send(client, held, value="revoke", reason="Nobody needs it").json() == {"words": ""}
        send(client, held, value="certify", reason="On second thought")
        page = looks(client, held)
        assert checked(page, "certify")
        assert "On second thought</textarea>" in page
        assert Decision.objects.get().reason == "Nobody needs it"

    def test_what_was_refused_is_kept_too(self, client, reviewer, held):
        client.force_login(reviewer)
        data = {"value": "certify_reduced", "switches": "1", "reason": "All of it", "version": review_version(held)}
        refused = client.post(address("decide", held), data | {"evidence_hash": held.item.evidence_hash})
        assert refused.status_code == 422
        page = refused.content.decode()
        assert not checked(page, "query")
        assert not checked(page, "purge")
        assert "All of it</textarea>" in looks(client, held)

    def test_the_page_costs_no_more_with_it(self, client, reviewer, held):
        client.force_login(reviewer)
        looks(client, held)
        with CaptureQueriesContext(database) as without:
            looks(client, held)
        keep(held, value="revoke", reason="Nobody needs it")
        with CaptureQueriesContext(database) as with_it:
            looks(client, held)
        assert len(with_it) == len(without)


class TestNotKept:
    def test_a_secret_is_not_kept_and_the_page_says_so(self, client, reviewer, held):
        assert list(find_secret_values(SECRET, ("reason",), name="reason"))
        client.force_login(reviewer)
        answer = send(client, held, value="revoke", reason=SECRET)
        assert answer.status_code == 422
        assert answer.json()["words"].startswith("Not kept.")
        assert "AKIA" not in answer.content.decode()
        assert not UnfinishedAnswer.objects.exists()
        with pytest.raises(SecretRefused):
            keep(held, reason=SECRET)

    def test_what_no_switch_says_is_dropped(self, reviewer, held):
        assert keep(held, value="nonsense", kept=["query", "anything"], reason="x").kept == ["query"]
        assert UnfinishedAnswer.objects.get().value == ""

    def test_others_neither_keep_nor_discard_nor_see_it(self, client, reviewer, held):
        keep(held, value="revoke", reason="Nobody needs it")
        other = make.person("manager")
        with pytest.raises(NotAllowed):
            reviews.keep_unfinished(actor=make.acting(other), work_item=held, reason="mine")
        with pytest.raises(NotAllowed):
            reviews.discard_unfinished(actor=make.acting(other), work_item=held)
        client.force_login(other)
        assert send(client, held, reason="mine").status_code == 403
        assert "Nobody needs it" not in looks(client, held)
        assert UnfinishedAnswer.objects.get().reason == "Nobody needs it"

    def test_what_comes_after_saving_does_not_come_back(self, reviewer, held):
        version = review_version(held)
        make.decide(held.item, value="certify")
        with pytest.raises(Changed):
            keep(WorkItem.objects.get(pk=held.pk), value="revoke", reason="late", expected_version=version)
        assert not UnfinishedAnswer.objects.exists()

    def test_nothing_is_kept_where_nothing_is_to_decide(self, reviewer, held):
        make.decide(held.item, value="certify")
        make.sign(held.item.campaign, reviewer)
        with pytest.raises(Conflict):
            keep(WorkItem.objects.get(pk=held.pk), reason="later")


class TestForgotten:
    def test_by_saving(self, reviewer, held):
        keep(held, value="revoke", reason="Nobody needs it")
        make.decide(held.item, value="certify")
        assert not UnfinishedAnswer.objects.exists()

    def test_by_discarding(self, client, reviewer, held):
        keep(held, value="revoke", reason="Nobody needs it")
        client.force_login(reviewer)
        answer = client.post(address("unfinished", held), {"discard": "1"}, follow=True)
        assert "Your unfinished answer is discarded." in answer.content.decode()
        assert not UnfinishedAnswer.objects.exists()

    def test_by_signing(self, reviewer, held):
        make.decide(held.item, value="certify")
        keep(WorkItem.objects.get(pk=held.pk), value="revoke", reason="On second thought")
        make.sign(held.item.campaign, reviewer)
        assert not UnfinishedAnswer.objects.exists()

    def test_by_stepping_back(self, reviewer, held):
        make.person("reviewer", name="Next")
        keep(held, value="revoke", reason="Nobody needs it")
        reviews.recuse_work_item(actor=make.acting(reviewer), work_item=held, reason="My sister runs it.")
        assert not UnfinishedAnswer.objects.exists()

    def test_by_handing_over(self, client, reviewer, held):
        other = make.person("reviewer", name="Next")
        keep(held, value="revoke", reason="Nobody needs it")
        reviews.reassign_work_item(actor=make.acting(reviewer), work_item=held, to=other, note="Yours")
        assert not UnfinishedAnswer.objects.exists()
        client.force_login(other)
        assert "Nobody needs it" not in looks(client, held)


class TestUndo:
    def test_choice_switches_and_words_come_back(self, client, reviewer, held):
        make.decide(held.item, value="certify_reduced", reason="It only reads", kept=["query"])
        client.force_login(reviewer)
        client.post(address("undo", held))
        page = looks(client, held)
        assert checked(page, "certify_reduced")
        assert checked(page, "query")
        assert not checked(page, "purge")
        assert "It only reads</textarea>" in page
        assert not Decision.objects.exists()


class TestFactsChanged:
    @pytest.fixture
    def moved(self, reviewer):
        self.server = make.active_server(tools=TOOLS)
        return WorkItem.objects.get(item__campaign=make.campaign(reviewer, kinds=["server"]))

    def move(self, held):
        tools = [*TOOLS, {"name": "extra", "confirmed_class": "read"}]
        catalog.set_tools(actor=make.acting(self.server.owner), server=self.server, tools=tools)
        check_items(item_ids=[held.item_id])

    def confirm(self, held):
        held = WorkItem.objects.get(pk=held.pk)
        reviews.confirm_facts(
            actor=make.acting(held.reviewer),
            work_item=held,
            evidence_hash=evidence_of(held.item.subject).evidence_hash,
        )

    def test_the_words_stay_the_choice_does_not(self, client, reviewer, moved):
        keep(moved, value="revoke", reason="Nobody needs it")
        self.move(moved)
        self.confirm(moved)
        client.force_login(reviewer)
        page = looks(client, moved)
        assert "Nobody needs it</textarea>" in page
        assert not checked(page, "revoke")
        assert "choose anew" in page

    def test_the_words_of_a_discarded_answer_stay_too(self, client, reviewer, moved):
        make.decide(moved.item, value="revoke", reason="Nobody needs it")
        self.move(moved)
        assert not Decision.objects.exists()
        self.confirm(moved)
        client.force_login(reviewer)
        assert "Nobody needs it</textarea>" in looks(client, moved)


@pytest.mark.django_db(transaction=True)
class TestInABrowser:
    def test_left_without_saving_and_come_back(self, reviewer, held, new_page):
        page = new_page(reviewer)
        asked = []
        page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
        page.goto(address("item", held))
        press(page, "r")
        press(page, "w")
        page.keyboard.type("Nobody needs it")
        expect(page.locator("[data-kept]")).to_contain_text("Kept at")
        page.goto(reverse("reviews:inbox"))
        assert asked == []
        page.goto(address("item", held))
        expect(page.locator("#reason")).to_have_value("Nobody needs it")
        expect(page.locator("[value=revoke]")).to_be_checked()
        page.get_by_role("button", name="Discard").click()
        expect(page.locator("#reason")).to_have_value("")
        assert not UnfinishedAnswer.objects.exists()

    def test_what_cannot_be_kept_asks_before_leaving(self, reviewer, held, new_page):
        page = new_page(reviewer)
        asked = []
        page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
        page.goto(address("item", held))
        press(page, "w")
        page.keyboard.type(SECRET)
        expect(page.locator("[data-kept]")).to_contain_text("Not kept")
        page.goto(reverse("reviews:inbox"))
        assert asked == ["beforeunload"]

    def test_signed_out_meanwhile(self, reviewer, held, new_page):
        page = new_page(reviewer)
        page.goto(address("item", held))
        press(page, "w")
        page.keyboard.type("Nobody")
        expect(page.locator("[data-kept]")).to_contain_text("Kept at")
        page.context.clear_cookies(name="sessionid")
        page.keyboard.type(" needs it")
        expect(page.locator("[data-kept]")).to_contain_text("you are signed out")
        assert UnfinishedAnswer.objects.get().reason == "Nobody"
