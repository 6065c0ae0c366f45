"""Somebody leaves: their reviews go to others, absences end, trust nobody answers for rests after a time of grace."""

from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse

from registry.accounts import services as accounts
from registry.accounts.models import User
from registry.audit.models import Event
from registry.catalog import services as catalog
from registry.catalog.models import Agent, Proposal, Server, System, Vacancy
from registry.core import clock
from registry.core.actors import Actor
from registry.reviews import services as reviews
from registry.reviews.models import Campaign, Item, Letter, Template, WorkItem
from registry.reviews.services import interim, leavers
from registry.reviews.services.letters import send_letters
from registry.trust import departures
from registry.trust import services as trust
from registry.trust.models import Connection, Grant
from tests import factories as make

pytestmark = pytest.mark.django_db
ADMIN = Actor.system("tests")


def leave(person) -> None:
    accounts.set_active(actor=ADMIN, user=person, active=False)


def later(days: float):
    return clock.at(clock.now() + clock.days(days))


# --- Done when -------------------------------------------------------------------------------------------


def test_a_leaver_over_scim(at_once, web):
    """Everything they owned shows as orphaned, their tokens and sessions are dead, their reviews are others'."""
    admin, deputy = make.person("administrator"), make.person("member", name="Dee")
    ana = make.person("reviewer", name="Ana", email="ana@example.org")
    other = make.person("reviewer", name="Otto")
    server = make.active_server(owner=ana, deputy=deputy)
    system, agent = make.system(owner=ana), make.agent(owner=ana)
    make.grant()
    campaign = make.campaign(ana, other)
    hers = list(WorkItem.objects.filter(item__campaign=campaign, reviewer=ana).values_list("item", flat=True))
    assert hers
    token, session = make.token_for(ana), web(ana)
    assert session.get("/").status_code == 200
    directory = {"Authorization": f"Bearer {make.token_for(admin, 'accounts:provision')}"}

    answer = at_once(
        lambda: Client().patch(
            f"/scim/v2/Users/{ana.pk}",
            {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
             "Operations": [{"op": "Replace", "path": "active", "value": "False"}]},
            content_type="application/scim+json",
            headers=directory,
        )
    )  # fmt: skip
    assert answer.status_code == 200

    assert Client().get("/api/v1/servers", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert session.get("/").status_code == 302
    assert list(Server.objects.orphaned()) == [server]
    assert list(System.objects.orphaned()) == [system]
    assert list(Agent.objects.orphaned()) == [agent]
    assert Vacancy.objects.open().get(server=server).interim == deputy
    assert Proposal.objects.waiting().get(vacancy__server=server).successor == deputy
    open_ = WorkItem.objects.filter(item__in=hers).exclude(state="closed")
    assert not open_.filter(reviewer=ana).exists()
    for item in Item.objects.filter(pk__in=hers):
        free = not item.interested or other.pk not in item.interested.values()
        assert item.work_items.exclude(state="closed").exists() == free or item.state == "escalated"
    assert Letter.objects.filter(to=deputy, key__startswith="succession").count() == 1


# --- Reviews ---------------------------------------------------------------------------------------------


def test_reviews_go_to_the_next_independent_reviewer_with_the_reason():
    ana, otto, uma = (make.person("reviewer", name=name) for name in ("Ana", "Otto", "Uma"))
    make.grant()
    campaign = make.campaign(ana, otto, uma)
    before = {row.item_id: row for row in WorkItem.objects.filter(item__campaign=campaign, reviewer=ana)}
    assert before
    make.decide(next(iter(before.values())).item)
    leave(ana)
    assert leavers.replace_leavers(user_id=ana.pk) == len(before)
    for item_id, old in before.items():
        new = WorkItem.objects.get(item=item_id, state="open")
        assert new.reviewer in (otto, uma)
        assert WorkItem.objects.get(pk=old.pk).state == "closed"
        move = old.moves.get()
        assert (move.from_reviewer, move.to_reviewer) == (ana, new.reviewer) and "Ana has left" in move.note
        assert not old.decisions.filter(signed_at=None).exists()
    assert leavers.replace_leavers() == 0


def test_where_nobody_is_left_the_campaigns_owner_hears_of_it():
    ana = make.person("reviewer", name="Ana")
    make.active_server()
    campaign = make.campaign(ana)
    leave(ana)
    leavers.replace_leavers()
    states = set(Item.objects.filter(campaign=campaign).values_list("state", flat=True))
    assert states == {"escalated"}


def test_absences_of_and_by_leavers_end():
    ana, otto, uma = (make.person("reviewer") for _ in range(3))
    rows = [
        reviews.create_delegation(
            actor=make.acting(who), delegator=who, delegate=to, starts_on=clock.today() + timedelta(days=start),
            ends_on=clock.today() + timedelta(days=start + 2),
        )
        for who, to, start in ((ana, uma, 1), (otto, ana, 10), (otto, uma, 30))
    ]  # fmt: skip
    leave(ana)
    assert leavers.end_delegations_of_leavers(user_id=ana.pk) == 2
    for row in rows:
        row.refresh_from_db()
    assert [row.ended_at is not None for row in rows] == [True, True, False]
    assert leavers.end_delegations_of_leavers() == 0


# --- Campaigns -------------------------------------------------------------------------------------------


class TestWhoRunsTheCampaign:
    @pytest.fixture
    def mara(self):
        return make.person("campaign_manager", name="Mara")

    @pytest.fixture
    def campaign(self, mara):
        make.active_server()
        return make.campaign(make.person("reviewer"), kinds=["server"], owner=mara)

    def owner_of(self, thing):
        thing.refresh_from_db()
        return thing.owner

    def test_their_manager_does_from_now_on_and_hears_of_it(self, campaign, mara, at_once, web):
        mara.manager = make.person("member", name="Boss")
        mara.save()
        other = make.person("campaign_manager")
        at_once(lambda: leave(mara))
        assert self.owner_of(campaign) == mara.manager and campaign.interim_for == mara
        event = Event.objects.get(act="campaign.interim_owner_named", subject_id=campaign.pk)
        assert (event.data["before"], event.data["after"]) == (str(mara.pk), str(mara.manager.pk))
        assert event.data["rule"] == "manager"
        letter = Letter.objects.get(to=mara.manager)
        assert "Mara" in letter.subject and campaign.name in letter.text
        page = web(other).get(reverse("reviews:campaign", args=[campaign.pk])).content.decode()
        assert "run by Boss in the interim, because Mara left" in page
        assert interim.name_interim_owners() == 0

    def test_else_the_campaign_manager_who_runs_the_fewest(self, campaign, mara):
        busy, free = make.person("campaign_manager"), make.person("campaign_manager")
        Campaign.objects.create(name="Another", owner=busy, state="draft", due_at=clock.now(), scope_hash="0")
        leave(mara)
        assert interim.name_interim_owners() == 2
        assert self.owner_of(campaign) == free
        assert {template.owner for template in Template.objects.all()} <= {busy, free}

    def test_nobody_who_reviews_in_it(self, campaign, mara):
        mara.manager = WorkItem.objects.get(item__campaign=campaign).reviewer
        mara.save()
        admin = make.person("administrator")
        leave(mara)
        interim.name_interim_owners()
        assert self.owner_of(campaign) == admin

    @pytest.mark.parametrize("unfit", ["gone", "without a role", "auditor"])
    def test_a_manager_who_cannot_is_passed_over(self, campaign, mara, unfit):
        mara.manager = {
            "gone": lambda: make.person(active=False),
            "without a role": make.outsider,
            "auditor": lambda: make.person("auditor"),
        }[unfit]()
        mara.save()
        other = make.person("campaign_manager")
        leave(mara)
        interim.name_interim_owners()
        assert self.owner_of(campaign) == other

    def test_where_nobody_is_there_the_page_says_so_and_the_next_sweep_looks_again(self, campaign, mara, web):
        leave(mara)
        assert interim.name_interim_owners() == 0
        assert (
            "Its owner left" in web(make.person()).get(reverse("reviews:campaign", args=[campaign.pk])).content.decode()
        )
        admin = make.person("administrator")
        assert interim.name_interim_owners() == 2
        assert self.owner_of(campaign) == admin

    def test_what_is_over_keeps_the_name_of_who_ran_it(self, campaign, mara):
        reviews.cancel_campaign(actor=ADMIN, campaign=campaign, reason="Not needed.")
        make.person("campaign_manager")
        leave(mara)
        interim.name_interim_owners()
        assert self.owner_of(campaign) == mara


# --- Deputies and whoever runs a server ------------------------------------------------------------------


class TestWhoStoodIn:
    @pytest.fixture
    def ana(self):
        return make.person("member", name="Ana")

    def told(self, person):
        return [letter.text for letter in Letter.objects.filter(to=person, key__startswith="stand-in")]

    def acts(self, server):
        return list(
            Event.objects.filter(subject_id=server.pk, act__contains="_left").order_by("id").values_list("act", "data")
        )

    def test_a_server_in_use_keeps_the_name_of_its_deputy_and_its_owner_hears_once(self, ana, at_once, web):
        server = make.active_server(deputy=ana)
        at_once(lambda: leave(ana))
        [(act, data)] = self.acts(server)
        assert act == "server.deputy_left" and data["deputy"] == str(ana.pk)
        [text] = self.told(server.owner)
        assert "Ana, the deputy of" in text and "Nobody stands in for you" in text
        assert leavers.release_stand_ins() == 0
        assert len(self.acts(server)) == len(self.told(server.owner)) == 1
        page = web(server.owner).get(reverse("catalog:server", args=[server.pk])).content.decode()
        assert 'Ana</a></b> <span class="chip danger">' in page, "its page shows that too"
        accounts.set_active(actor=ADMIN, user=ana, active=True)
        leave(ana)
        assert leavers.release_stand_ins(user_id=ana.pk) == 1, "another departure is told again"

    def test_a_draft_loses_the_name(self, ana):
        server = make.complete_draft(deputy=ana)
        leave(ana)
        assert leavers.release_stand_ins(user_id=ana.pk) == 1
        server.refresh_from_db()
        assert server.deputy is None and self.acts(server)[0][0] == "server.deputy_left"

    def test_whoever_ran_it_is_named_no_longer(self, ana):
        server = make.active_server()
        catalog.assign_people(
            actor=make.acting(server.owner), server=server, owner=server.owner, deputy=server.deputy,
            team=server.team, operator=ana,
        )  # fmt: skip
        leave(ana)
        assert leavers.release_stand_ins() == 1
        server.refresh_from_db()
        assert server.operator is None
        [(act, data)] = self.acts(server)
        assert act == "server.operator_left" and data["operator"] == str(ana.pk)
        assert "who ran" in self.told(server.owner)[0]

    def test_a_deputy_who_acted_in_the_interim_does_so_no_more(self, ana):
        server = make.active_server(deputy=ana)
        leave(server.owner)
        catalog.open_vacancies()
        assert Vacancy.objects.get(server=server).interim == ana
        leave(ana)
        leavers.release_stand_ins()
        assert Vacancy.objects.get(server=server).interim is None

    def test_others_and_what_is_retired_are_left_alone(self, ana):
        server, other = make.active_server(deputy=ana), make.active_server()
        catalog.retire_server(actor=make.acting(make.person("security")), server=server, reason="Not needed.")
        leave(ana)
        assert leavers.release_stand_ins() == 0
        assert self.acts(server) == self.acts(other) == []


# --- Trust -----------------------------------------------------------------------------------------------


@pytest.fixture
def shared():
    """A grant of Ana's agent and a connection to her system; the server between them is others'."""
    ana = make.person("member", name="Ana")
    server = make.active_server()
    return {
        "ana": ana,
        "server": server,
        "grant": make.grant(agent=make.agent(owner=ana), server=server),
        "connection": make.connection(system=make.system(owner=ana), server=server),
        "other": make.grant(server=server),
    }


def status(thing) -> str:
    return type(thing).objects.get(pk=thing.pk).status


def test_trust_rests_after_the_grace_and_not_before(shared):
    leave(shared["ana"])
    with later(13.9):
        assert departures.rest_unanswered(now=clock.now()) == 0
    with later(14.1):
        assert departures.rest_unanswered(now=clock.now()) == 2
        assert departures.rest_unanswered(now=clock.now()) == 0
    assert (status(shared["grant"]), status(shared["connection"]), status(shared["other"])) == (
        "suspended", "suspended", "active",
    )  # fmt: skip
    assert "Ana left on" in Grant.objects.get(pk=shared["grant"].pk).status_reason


def test_the_grace_is_a_setting(shared, settings):
    settings.LEAVER_GRACE_DAYS = 2
    leave(shared["ana"])
    with later(2.1):
        assert departures.rest_unanswered(now=clock.now()) == 2


def test_what_is_taken_over_in_time_goes_on(shared):
    leave(shared["ana"])
    catalog.open_vacancies()
    heir = make.person("member")
    security = make.acting(make.person("security"))
    [made] = catalog.propose_successor(
        actor=security, vacancies=[Vacancy.objects.get(agent=shared["grant"].agent)], successor=heir
    )
    catalog.accept_proposals(actor=make.acting(heir), proposals=[made])
    with later(15):
        departures.rest_unanswered(now=clock.now())
    assert (status(shared["grant"]), status(shared["connection"])) == ("active", "suspended")


def test_a_server_with_a_deputy_is_answered_for():
    grant = make.grant()
    leave(grant.server.owner)
    with later(15):
        assert departures.rest_unanswered(now=clock.now()) == 0
    leave(grant.server.deputy)
    with later(15):
        assert departures.rest_unanswered(now=clock.now()) >= 1
    assert status(grant) == "suspended"


def test_who_asked_for_something_without_an_owner_answers_for_it():
    asker = make.person("member")
    agent = make.agent()
    grant = make.grant(agent=agent)
    Grant.objects.filter(pk=grant.pk).update(requested_by=asker)
    Agent.objects.filter(pk=agent.pk).update(owner=None)
    leave(asker)
    with later(15):
        assert departures.rest_unanswered(now=clock.now()) == 1
    assert status(grant) == "suspended"


def test_coming_back_resumes_nothing_and_what_security_resumes_stays(shared):
    leave(shared["ana"])
    with later(15):
        departures.rest_unanswered(now=clock.now())
    accounts.set_active(actor=ADMIN, user=shared["ana"], active=True)
    assert status(shared["grant"]) == "suspended"
    accounts.set_active(actor=ADMIN, user=shared["ana"], active=False)
    User.objects.filter(pk=shared["ana"].pk).update(left_at=clock.now() - clock.days(20))
    with later(16):
        trust.resume_relationship(
            actor=make.acting(make.person("security")), relationship=shared["grant"], reason="Still needed."
        )
        departures.rest_unanswered(now=clock.now())
    assert status(shared["grant"]) == "active"


def test_it_is_announced_when_somebody_leaves_and_once_more_shortly_before(shared):
    leave(shared["ana"])
    assert leavers.announce_rest(now=clock.now()) > 0
    told = set(Letter.objects.filter(key__startswith="rest").values_list("to", flat=True))
    assert {shared["server"].owner_id, shared["server"].deputy_id} <= told and shared["ana"].pk not in told
    assert leavers.announce_rest(now=clock.now()) == 0
    count = Letter.objects.count()
    assert leavers.announce_rest(now=clock.now() + clock.days(12)) > 0
    assert Letter.objects.count() > count
    send_letters(now=clock.now())
    text = next(message.body for message in mail.outbox if "rest" in message.subject)
    assert "Ana has left" in text and str(shared["grant"]) in text and "/succession/" in text
    assert Connection.objects.get(pk=shared["connection"].pk).status == "active"
