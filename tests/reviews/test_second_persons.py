"""Where somebody else has to act: who may is worked out before anybody is asked, and who is asked finds it."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from registry.accounts.models import User
from registry.catalog import services as catalog
from registry.catalog.models import Agent
from registry.core import clock
from registry.core.errors import Conflict, NotIndependent
from registry.core.independence import spoken_to
from registry.reviews import services as reviews
from registry.reviews.gate import gate
from registry.reviews.models import Campaign, Item, Letter, QualityVerdict, Remediation, Template
from registry.reviews.preview import preview
from registry.reviews.reports import summary
from registry.reviews.waiting import waiting
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def reviewer(db) -> User:
    return make.person("reviewer", name="Rita Reviewer")


@pytest.fixture
def hasty(reviewer) -> Campaign:
    make.many_grants(make.active_server(), 22)
    made = make.campaign(reviewer, kinds=["grant"])
    make.decide_all(made, reviewer, seconds=0.45)
    return made


def red(campaign: Campaign, reviewer: User) -> QualityVerdict:
    found = reviews.assess(actor=make.acting(reviewer), campaign=campaign)
    assert found.verdict == "red"
    return found


def give_a_stake(campaign: Campaign, user: User, place: int = 0) -> Item:
    """No fact of the item changes by it: who registered an agent is context."""
    item = campaign.items.order_by("pk")[place]
    Agent.objects.filter(pk=item.grant.agent_id).update(created_by=user)
    return item


def asked() -> dict[str, str]:
    return {letter.to.name: letter.text for letter in Letter.objects.filter(key__startswith="careless")}


class TestASecondLook:
    def test_an_owner_with_a_stake_is_not_asked_but_told_why(self, web, hasty, reviewer):
        guard = make.person("security", name="Greta Guard")
        item = give_a_stake(hasty, hasty.owner)
        verdict = red(hasty, reviewer)
        assert set(asked()) == {guard.name}
        url = reverse("reviews:quality", args=[verdict.pk])
        page = web(hasty.owner).get(url).text
        assert "Let them be signed" not in page
        assert "You cannot confirm these" in page and item.label in page and guard.name in page
        assert "Let them be signed" in web(guard).get(url).text
        assert web(hasty.owner).post(url, {"reason": "Fine."}).status_code == 403
        own = web(reviewer).get(reverse("reviews:sign_off", args=[hasty.pk])).text
        assert guard.name in own and f"{hasty.owner.name} (who owns" not in own

    def test_where_nobody_may_everybody_learns_what_helps(self, web, hasty, reviewer):
        admin, guard = make.person("administrator", name="Ada Admin"), make.person("security", name="Greta Guard")
        give_a_stake(hasty, hasty.owner)
        give_a_stake(hasty, guard, 1)
        verdict = red(hasty, reviewer)
        letters = asked()
        assert set(letters) == {admin.name, guard.name, hasty.owner.name}
        told = "Nobody may confirm these decisions"
        assert told in letters[admin.name] and "campaign manager" in letters[admin.name]
        assert "you may confirm them" not in letters[admin.name]
        for person, url in (
            (hasty.owner, reverse("reviews:campaign", args=[hasty.pk])),
            (reviewer, reverse("reviews:sign_off", args=[hasty.pk])),
            (guard, reverse("reviews:quality", args=[verdict.pk])),
        ):
            assert told in web(person).get(url).text, url
        # Somebody comes to it, and is asked when the reviewer asks again.
        helper = make.person("campaign_manager", name="Hana Helper")
        web(reviewer).post(reverse("reviews:sign_off_ask", args=[hasty.pk]))
        assert "you may confirm them" in asked()[helper.name]
        reviews.confirm_quality(actor=make.acting(helper), verdict=verdict, reason="Looked at six of them.")
        assert make.sign(hasty, reviewer).decision_count == 22

    def test_the_refusal_names_the_stake(self, hasty, reviewer):
        verdict = red(hasty, reviewer)
        item = give_a_stake(hasty, hasty.owner)
        with pytest.raises(NotIndependent) as refused:
            reviews.confirm_quality(actor=make.acting(hasty.owner), verdict=verdict, reason="Fine.")
        assert item.label in refused.value.message and "registered the agent" in refused.value.message


@pytest.fixture
def removed(reviewer) -> Remediation:
    reviewer.roles = ["reviewer", "security"]
    reviewer.save()
    made = make.campaign(reviewer, kinds=["grant"], scope={}) if make.grant(server=make.active_server()) else None
    item = made.items.get()
    make.decide(item, "revoke", reason="Not used.")
    make.sign(made, reviewer)
    reviews.follow_up(now=clock.now())
    return Remediation.objects.get(item=item)


class TestVerification:
    def test_who_decided_reads_whom_to_ask_instead_of_a_form(self, web, removed, reviewer):
        url = reverse("reviews:remediation_confirm", args=[removed.pk])
        page = web(reviewer).get(url).text
        assert "<textarea" not in page
        assert "You decided on it" in page and "nobody of security is independent" in page
        guard = make.person("security", name="Greta Guard")
        assert "Ask Greta Guard" in web(reviewer).get(url).text
        assert "<textarea" in web(guard).get(url).text

    def test_a_bar_is_said_to_oneself_and_of_others(self):
        assert spoken_to("owns the agent that gains from it") == "own the agent that gains from it"
        assert spoken_to("requested it") == "requested it"


class TestWaiting:
    def test_a_second_look_is_listed_with_who_asks(self, web, hasty, reviewer):
        assert waiting(make.acting(hasty.owner)) == []
        verdict = red(hasty, reviewer)
        (row,) = waiting(make.acting(hasty.owner))
        assert (row.asked_by, row.since) == (reviewer.name, verdict.at)
        assert row.url == reverse("reviews:quality", args=[verdict.pk])
        for page in ("reviews:inbox", "portal:home"):
            text = web(hasty.owner).get(reverse(page)).text
            assert row.url in text and "Rita Reviewer asks" in text and "Nothing waits for you" not in text
        assert waiting(make.acting(reviewer)) == []
        give_a_stake(hasty, hasty.owner)
        assert waiting(make.acting(hasty.owner)) == [], "who may not act is not asked"

    def test_items_in_nobodys_hands_wait_for_the_owner(self):
        server = make.active_server()
        server.owner.roles = ["reviewer"]
        server.owner.save()
        campaign = make.campaign(server.owner, kinds=["server"])
        (row,) = waiting(make.acting(campaign.owner))
        assert "1 item is in nobody's hands" in row.detail
        assert waiting(make.acting(server.owner)) == []

    def test_an_exception_waits_for_independent_security(self, removed, reviewer):
        guard = make.person("security")
        Remediation.objects.filter(pk=removed.pk).update(state="not_verified")
        removed.refresh_from_db()
        reviews.request_exception(
            actor=make.acting(removed.item.campaign.owner), remediation=removed, reason="Migration runs.",
            compensating_control="Watched daily.", expires_at=clock.now() + timedelta(days=5),
        )  # fmt: skip
        assert any("Migration runs." in str(row.detail) for row in waiting(make.acting(guard)))
        assert waiting(make.acting(reviewer)) == [], "who decided it judges neither the exception nor the removal"

    def test_an_acceptance_waits_for_auditors_without_a_part(self, reviewer):
        auditor = make.person("auditor")
        make.grant(server=make.active_server())
        campaign = make.campaign(reviewer, kinds=["grant"])
        make.decide_all(campaign, reviewer)
        make.sign(campaign, reviewer)
        campaign.refresh_from_db()
        reviews.close_campaign(
            actor=make.acting(campaign.owner), campaign=campaign, statement="Complete.", auth_method="password"
        )
        campaign.refresh_from_db()
        assert campaign.state == "completed"
        (row,) = waiting(make.acting(auditor))
        assert row.url == reverse("reviews:campaign_accept", args=[campaign.pk])
        assert waiting(make.acting(reviewer)) == []

    def test_what_did_not_go_asks_for_a_repeat_and_not_for_another_look(self, removed):
        guard = make.person("security")
        assert [row.icon for row in waiting(make.acting(guard))] == ["eye"]
        reviews.confirm_remediation(
            actor=make.acting(make.person("security")), remediation=removed, proof="It answers.", effective=False
        )
        for person in (guard, removed.item.campaign.owner):
            (row,) = (row for row in waiting(make.acting(person)) if row.icon == "rotate-ccw")
            assert "carried out again" in str(row.detail)
            assert not [row for row in waiting(make.acting(person)) if row.icon == "eye"]
        assert not waiting(make.acting(make.person("reviewer")))

    def test_what_came_back_waits_too(self, removed):
        guard = make.person("security")
        Remediation.objects.filter(pk=removed.pk).update(state="regressed")
        for person in (guard, removed.item.campaign.owner):
            assert ["Seen again" in str(row.detail) for row in waiting(make.acting(person))] == [True]

    def test_the_badge_counts_it(self, removed, web):
        guard = make.person("security", name="Greta Guard")
        page = web(guard).get(reverse("reviews:campaigns")).text
        assert "My work, 1 waiting" in page

    def test_whoever_asks_in_vain_for_an_exception_is_warned(self, removed, web):
        guard = make.person("security", name="Greta Guard")
        User.objects.filter(roles__contains=["security"]).exclude(pk=guard.pk).update(is_active=False)
        reviews.confirm_remediation(actor=make.acting(guard), remediation=removed, proof="It answers.", effective=False)
        address = reverse("reviews:remediation_except", args=[removed.pk])
        assert "nobody of security can approve it" in web(guard).get(address).text
        make.person("security", name="Sol Security")
        assert "nobody of security can approve it" not in web(guard).get(address).text

    def test_costs_the_same_for_many(self, reviewer):
        everything = make.person("security", "campaign_manager", "auditor", name="Olga")

        def another() -> None:
            other = make.person("reviewer")
            make.many_grants(make.active_server(), 20)
            made = make.campaign(other, kinds=["grant"])
            make.decide_all(made, other, seconds=0.4)
            red(made, other)

        another()
        with CaptureQueriesContext(connection) as few:
            assert len(waiting(make.acting(everything))) == 1
        another()
        with CaptureQueriesContext(connection) as many:
            assert len(waiting(make.acting(everything))) == 2
        assert len(few) == len(many)


class TestNobodyIsLeft:
    def test_stepping_back_says_so_and_the_owner_is_written_to(self, web, reviewer):
        make.active_server()
        campaign = make.campaign(reviewer, kinds=["server"])
        item = campaign.items.get()
        answer = web(reviewer).post(
            reverse("reviews:recuse", args=[campaign.pk, item.pk]), {"reason": "I know them."}, follow=True
        )
        assert "Nobody independent is left in the pool" in answer.text
        assert Letter.objects.get(key__startswith="stuck").to == campaign.owner

    def test_with_a_second_reviewer_the_owner_hears_of_the_empty_place(self, reviewer):
        make.active_server()
        campaign = make.campaign(reviewer, make.person("reviewer"), kinds=["server"], reviewers_per_item=2)
        held = campaign.items.get().work_items.get(reviewer=reviewer)
        reviews.recuse_work_item(actor=make.acting(reviewer), work_item=held, reason="I know them.")
        assert "1 other reviewer still has it" in Letter.objects.get(key__startswith="stuck").text

    def test_somebody_who_takes_over_is_named(self, web, reviewer):
        make.active_server()
        other = make.person("reviewer", name="Otto Other")
        campaign = make.campaign(reviewer, other, kinds=["server"])
        item = campaign.items.get()
        holder = item.work_items.get().reviewer
        answer = web(holder).post(
            reverse("reviews:recuse", args=[campaign.pk, item.pk]), {"reason": "I know them."}, follow=True
        )
        taker = other if holder == reviewer else reviewer
        assert f"{taker.name} decides" in answer.text
        assert not Letter.objects.filter(key__startswith="stuck").exists()

    def test_hand_over_offers_only_who_may_take_it(self, web, reviewer):
        server = make.active_server()
        server.owner.roles = ["reviewer"]
        server.owner.save()
        free = make.person("reviewer", name="Fritz Free")
        campaign = make.campaign(reviewer, kinds=["server"])
        item = campaign.items.get()
        page = web(reviewer).get(reverse("reviews:hand_over", args=[campaign.pk, item.pk]))
        form = page.context["form"]
        offered = {label for _value, label in form.fields["to"].choices}
        assert free.name in offered
        assert not {reviewer.name, server.owner.name} & offered
        assert f"{server.owner.name} (owns the server" in page.text and "disabled" in page.text
        assert 'maxlength="2000"' in page.text
        refused = web(reviewer).post(
            reverse("reviews:hand_over", args=[campaign.pk, item.pk]), {"to": server.owner.pk, "note": "Please."}
        )
        assert refused.status_code in (403, 422)


class TestNobodyElse:
    def test_means_nobody_else(self, web, reviewer):
        make.active_server(in_team=make.team())
        campaign = make.campaign(reviewer, kinds=["server"], reviewer_rule="team_lead")
        assert (campaign.state, gate(campaign).without_reviewer_count) == ("staged", 1)
        template = Template.objects.get()
        manager = template.owner
        page = web(manager).get(reverse("reviews:launch", args=[template.pk])).text
        assert "Lead of the responsible team; nobody else" in page
        reviews.cancel_campaign(actor=make.acting(manager), campaign=campaign, reason="Again.")
        assert preview(template).without_count == 1

    def test_a_last_resort_is_a_visible_choice(self, web, reviewer):
        make.active_server(in_team=make.team())
        campaign = make.campaign(reviewer, kinds=["server"], reviewer_rule="team_lead", fallback=["pool"])
        assert campaign.state == "active"
        page = web(campaign.owner).get(reverse("reviews:launch", args=[campaign.template_id])).text
        assert "Lead of the responsible team; then Reviewer pool, by load; nobody else" in page


class TestFactsThatMovedAtTheGate:
    @pytest.fixture
    def waits(self) -> Campaign:
        """An item that nobody independent was found for; then a tool is added, and somebody comes."""
        server = make.active_server()
        server.owner.roles = ["reviewer"]
        server.owner.save()
        campaign = make.campaign(server.owner, kinds=["server"])
        assert campaign.state == "staged"
        catalog.set_tools(actor=make.acting(server.owner), server=server, tools=[{"name": "other"}])
        campaign.template.first_stage.reviewers.add(make.person("reviewer"))
        return campaign

    def test_finding_a_reviewer_does_not_open_it(self, waits):
        owner = make.acting(waits.owner)
        assert reviews.retry_assignment(actor=owner, campaign=waits) == 1
        waits.refresh_from_db()
        assert (waits.state, gate(waits).moved_count) == ("staged", 1)
        assert "The facts of 1 item moved" in waits.state_reason
        reviews.waive_gap(actor=owner, campaign=waits, gap="moved_facts", reason="The reviewer sees them first.")
        waits.refresh_from_db()
        assert waits.state == "active"

    def test_nor_does_activating_by_hand(self, waits):
        owner = make.acting(waits.owner)
        reviews.assign_reviewer(actor=owner, item=waits.items.get(), to=make.person("reviewer"))
        with pytest.raises(Conflict) as refused:
            reviews.activate_campaign(actor=owner, campaign=waits)
        assert "moved" in refused.value.message
        waits.refresh_from_db()
        assert (waits.state, waits.items.get().state) == ("staged", "invalidated"), "what was found is kept"

    def test_the_gate_itself_sees_what_was_touched_since_the_last_comparison(self, reviewer):
        server, blocking = make.active_server(), make.active_server()
        User.objects.filter(pk=blocking.owner_id).update(is_active=False)
        campaign = make.campaign(reviewer, kinds=["server"])
        assert gate(campaign).moved_count == 0
        catalog.set_tools(actor=make.acting(server.owner), server=server, tools=[{"name": "other"}])
        assert [item.server for item in gate(campaign).moved] == [server]


class TestWords:
    def test_the_report_counts_items_that_changed_hands(self, reviewer):
        for _ in range(3):
            make.active_server()
        campaign = make.campaign(reviewer, kinds=["server"])
        other = make.person("reviewer")
        for item in campaign.items.order_by("pk")[:2]:
            held = item.work_items.get()
            reviews.reassign_work_item(actor=make.acting(reviewer), work_item=held, to=other, note="Knows it.")
        third = campaign.items.order_by("pk").last()
        campaign.template.first_stage.reviewers.add(other)
        held = third.work_items.get()
        reviews.escalate(make.acting(campaign.owner), held, because="Too late.")
        assert summary(campaign, make.acting(campaign.owner)).stood_in == 3

    def test_one_slash_too_many_leads_to_the_page(self, web, reviewer):
        answer = web(reviewer).get("/people/?q=a")
        assert (answer.status_code, answer.headers["Location"]) == (301, "/people?q=a")
        assert web(reviewer).get("/nowhere/").status_code == 404
