"""What somebody leaves behind: seen at once, offered by a rule, taken over only by a yes."""

from typing import Any

import pytest

from registry.accounts import services as accounts
from registry.audit.models import Event
from registry.catalog import services
from registry.catalog.models import Agent, Proposal, Server, System, Vacancy
from registry.catalog.states import PROPOSAL, VACANCY, ProposalState, VacancyState
from registry.core.actors import Actor
from registry.core.errors import Conflict, IllegalTransition, Invalid, NotAllowed, SecretRefused
from tests import factories as make

pytestmark = pytest.mark.django_db
ADMIN = Actor.system("tests")


def leave(person) -> None:
    """Somebody is deactivated, and the worker has heard of it."""
    accounts.set_active(actor=ADMIN, user=person, active=False)
    services.open_vacancies(user_id=person.pk)


def come_back(person) -> None:
    accounts.set_active(actor=ADMIN, user=person, active=True)
    services.offer_back(user_id=person.pk)


def served(owner, team) -> Server:
    server = make.active_server(owner=owner)
    Server.objects.filter(pk=server.pk).update(team=team)
    server.refresh_from_db()
    return server


@pytest.fixture
def boss():
    return make.person("member", name="Bo Boss")


@pytest.fixture
def lead():
    return make.person("member", name="Lee Lead")


@pytest.fixture
def ana(boss):
    ana = make.person("member", name="Ana")
    ana.manager = boss
    ana.save()
    return ana


@pytest.fixture
def estate(ana, lead) -> dict[str, Any]:
    """A server with a deputy, a system and an agent of Ana's; her team has a lead."""
    team = make.team(ana, lead, name="Data", lead=lead)
    server = served(ana, team)
    return {
        "server": server,
        "system": make.system(owner=ana, team=team),
        "agent": make.agent(owner=ana, team=team),
        "team": team,
    }


def vacancy(thing) -> Vacancy:
    return Vacancy.objects.open().get(**{thing.subject_type: thing})


def asked(thing) -> Proposal:
    return Proposal.objects.waiting().get(vacancy=vacancy(thing))


# --- Seen ------------------------------------------------------------------------------------------------


def test_in_the_same_moment_everything_of_a_leaver_shows_as_orphaned(estate, ana, api, web):
    """Before any worker ran: lists, filters and pages ask whether the owner is here."""
    reader = make.person("member")
    accounts.set_active(actor=ADMIN, user=ana, active=False)
    for kind in ("server", "system", "agent"):
        found = api(reader).get(f"/api/v1/{kind}s?orphaned=true").json()["results"]
        assert [row["id"] for row in found] == [str(estate[kind].pk)]
        others = api(reader).get(f"/api/v1/{kind}s?orphaned=false").json()["results"]
        assert str(estate[kind].pk) not in [row["id"] for row in others]
        assert "has left" in web(reader).get(f"/{kind}s/").content.decode()
        page = web(reader).get(f"/{kind}s/{estate[kind].pk}/").content.decode()
        assert "Without an owner" in page


def test_the_deputy_acts_in_the_interim_and_is_not_the_owner(estate, ana):
    deputy = estate["server"].deputy
    leave(ana)
    open_ = vacancy(estate["server"])
    assert open_.interim == deputy
    assert Server.objects.get(pk=estate["server"].pk).owner == ana
    assert vacancy(estate["system"]).interim is None
    assert Event.objects.filter(act="server.orphaned", subject_id=estate["server"].pk).exists()


def test_nothing_is_opened_twice_nor_for_what_is_retired(estate, ana):
    services.retire_system(actor=make.acting(ana), system=estate["system"], reason="Over.")
    leave(ana)
    assert services.open_vacancies() == 0
    assert Vacancy.objects.count() == 2


# --- The rule --------------------------------------------------------------------------------------------


def test_the_rule_asks_the_deputy_then_the_manager_then_the_lead(estate, ana, boss, lead):
    deputy = estate["server"].deputy
    leave(ana)
    assert (asked(estate["server"]).successor, asked(estate["server"]).rule) == (deputy, "deputy")
    assert asked(estate["agent"]).successor == boss
    for person, rule in ((deputy, "deputy"), (boss, "manager"), (lead, "team_lead")):
        proposal = asked(estate["server"])
        assert (proposal.successor, proposal.rule) == (person, rule)
        services.decline_proposals(actor=make.acting(person), proposals=[proposal], reason="Not mine.")
    assert not Proposal.objects.waiting().filter(vacancy=vacancy(estate["server"])).exists()


def test_who_left_has_no_role_or_may_not_see_it_is_passed_over(estate, ana, boss, lead):
    accounts.set_active(actor=ADMIN, user=estate["server"].deputy, active=False)
    boss.roles = []
    boss.save()
    leave(ana)
    assert asked(estate["server"]).successor == lead
    assert vacancy(estate["server"]).interim is None


def test_a_confidential_thing_is_offered_only_to_who_may_see_it(ana, boss, lead):
    secret = make.system(owner=ana, confidential=True, team=make.team(ana, lead, lead=lead))
    leave(ana)
    assert asked(secret).successor == lead  # the manager is not in the team
    security = make.acting(make.person("security"))
    with pytest.raises(Invalid) as refusal:
        services.propose_successor(actor=security, vacancies=[vacancy(secret)], successor=boss)
    assert "successor" in refusal.value.fields


def test_who_is_asked_and_leaves_is_asked_no_longer(estate, ana, boss, lead):
    leave(ana)
    accounts.set_active(actor=ADMIN, user=boss, active=False)
    services.settle_vacancies()
    assert asked(estate["agent"]).successor == lead


# --- Yes and no ------------------------------------------------------------------------------------------


def test_only_a_yes_makes_an_owner(estate, ana, boss):
    leave(ana)
    proposal = asked(estate["agent"])
    for somebody in (make.person("administrator"), make.person("security"), ana):
        with pytest.raises(NotAllowed):
            services.accept_proposals(actor=make.acting(somebody), proposals=[proposal])
    assert Agent.objects.get(pk=estate["agent"].pk).owner == ana
    services.accept_proposals(actor=make.acting(boss), proposals=[proposal])
    assert Agent.objects.get(pk=estate["agent"].pk).owner == boss
    assert not Agent.objects.orphaned().exists()
    closed = Vacancy.objects.get(pk=proposal.vacancy_id)
    assert closed.state == VacancyState.FILLED and closed.ended_at
    assert Event.objects.filter(act="agent.ownership_taken_over", subject_id=estate["agent"].pk).exists()
    with pytest.raises(IllegalTransition):
        services.accept_proposals(actor=make.acting(boss), proposals=[proposal])


def test_a_deputy_who_becomes_the_owner_is_followed_by_somebody(estate, ana, lead):
    deputy = estate["server"].deputy
    leave(ana)
    services.accept_proposals(actor=make.acting(deputy), proposals=[asked(estate["server"])])
    server = Server.objects.get(pk=estate["server"].pk)
    assert (server.owner, server.deputy) == (deputy, lead)
    assert server.owner_accepted_at is not None


def test_without_anybody_for_deputy_the_successor_names_one(ana):
    server = served(ana, make.team(ana))
    deputy, other = server.deputy, make.person("member")
    leave(ana)
    proposal = asked(server)
    with pytest.raises(Invalid) as refusal:
        services.accept_proposals(actor=make.acting(deputy), proposals=[proposal])
    assert list(refusal.value.fields) == ["deputy"]
    with pytest.raises(Invalid):
        services.accept_proposals(actor=make.acting(deputy), proposals=[proposal], deputy=deputy)
    services.accept_proposals(actor=make.acting(deputy), proposals=[proposal], deputy=other)
    assert Server.objects.get(pk=server.pk).deputy == other


def test_many_are_taken_over_wholly_or_not_at_all(estate, ana, boss):
    leave(ana)
    mine = asked(estate["agent"])
    theirs = asked(estate["server"])
    with pytest.raises(NotAllowed):
        services.accept_proposals(actor=make.acting(boss), proposals=[mine, theirs])
    assert asked(estate["agent"]).pk == mine.pk


def test_a_no_needs_a_reason_and_keeps_no_secret(estate, ana, boss):
    leave(ana)
    with pytest.raises(Invalid):
        services.decline_proposals(actor=make.acting(boss), proposals=[asked(estate["agent"])], reason="  ")
    with pytest.raises(SecretRefused):
        services.decline_proposals(
            actor=make.acting(boss), proposals=[asked(estate["agent"])], reason="ghp_" + "a1B2" * 9
        )


# --- By hand ---------------------------------------------------------------------------------------------


def test_who_may_ask(estate, ana, boss, lead):
    leave(ana)
    other = make.person("member")
    for somebody in (other, make.person("reviewer"), make.person("auditor"), estate["server"].deputy, make.outsider()):
        with pytest.raises(NotAllowed):
            services.propose_successor(
                actor=make.acting(somebody), vacancies=[vacancy(estate["agent"])], successor=other
            )
    roles = ("campaign_manager", "security", "administrator")
    for asker in (boss, lead, *(make.person(role) for role in roles)):
        successor = make.person("member")
        [made] = services.propose_successor(
            actor=make.acting(asker), vacancies=[vacancy(estate["agent"])], successor=successor
        )
        assert asked(estate["agent"]).pk == made.pk
        assert made.rule == "by_hand" and made.proposed_by == asker


def test_everything_of_ana_at_once(estate, ana):
    leave(ana)
    security, heir = make.person("security"), make.person("member")
    rows = list(Vacancy.objects.open())
    services.propose_successor(actor=make.acting(security), vacancies=rows, successor=heir, note="You know it.")
    assert Proposal.objects.waiting().filter(successor=heir).count() == 3
    assert Proposal.objects.filter(state=ProposalState.WITHDRAWN).count() == 3
    with pytest.raises(Conflict):
        services.propose_successor(actor=make.acting(security), vacancies=rows, successor=heir)
    services.accept_proposals(actor=make.acting(heir), proposals=list(Proposal.objects.waiting()))
    things = [estate[kind] for kind in ("server", "system", "agent")]
    assert {type(each).objects.get(pk=each.pk).owner for each in things} == {heir}
    with pytest.raises(Conflict):
        services.propose_successor(actor=make.acting(security), vacancies=rows, successor=make.person("member"))


def test_nobody_or_too_many_at_once_and_nobody_inactive(estate, ana):
    leave(ana)
    security = make.acting(make.person("security"))
    with pytest.raises(Invalid):
        services.propose_successor(actor=security, vacancies=[], successor=make.person())
    with pytest.raises(Invalid):
        services.propose_successor(
            actor=security, vacancies=[vacancy(estate["agent"])], successor=make.person(active=False)
        )


def test_taking_back_a_question(estate, ana, boss):
    leave(ana)
    proposal = asked(estate["agent"])
    with pytest.raises(NotAllowed):
        services.withdraw_proposal(actor=make.acting(boss), proposal=proposal, reason="x")
    services.withdraw_proposal(actor=make.acting(make.person("security")), proposal=proposal, reason="Another.")
    assert Proposal.objects.get(pk=proposal.pk).state == ProposalState.WITHDRAWN


# --- Otherwise -------------------------------------------------------------------------------------------


def test_a_vacancy_ends_when_the_owner_changes_otherwise(estate, ana):
    leave(ana)
    services.update_agent(actor=make.acting(make.person("administrator")), agent=estate["agent"], owner=make.person())
    assert not Vacancy.objects.open().filter(agent=estate["agent"]).exists()
    deputy, third = estate["server"].deputy, make.person()
    services.assign_people(
        actor=make.acting(deputy), server=estate["server"], owner=deputy, deputy=third, team=estate["team"]
    )
    assert not Vacancy.objects.open().filter(server=estate["server"]).exists()
    services.retire_system(actor=ADMIN, system=estate["system"], reason="Over.")
    services.settle_vacancies()
    assert Vacancy.objects.get(system=estate["system"]).state == VacancyState.CLOSED


def test_coming_back_restores_nothing_and_offers(estate, ana):
    leave(ana)
    come_back(ana)
    assert Agent.objects.orphaned().count() == 1  # still: it is hers again only once she says so
    for kind in ("server", "system", "agent"):
        assert (asked(estate[kind]).successor, asked(estate[kind]).rule) == (ana, "former_owner")
    services.accept_proposals(actor=make.acting(ana), proposals=[asked(estate["agent"])])
    assert not Agent.objects.orphaned().exists()
    services.settle_vacancies()
    assert System.objects.orphaned().count() == 1


def test_whom_a_person_chose_stays_asked_when_the_owner_comes_back(estate, ana):
    leave(ana)
    heir = make.person()
    services.propose_successor(
        actor=make.acting(make.person("security")), vacancies=[vacancy(estate["agent"])], successor=heir
    )
    come_back(ana)
    assert asked(estate["agent"]).successor == heir


def test_what_may_follow_what_is_a_table():
    assert {state for state in ProposalState if PROPOSAL.allows("proposed", state)} == {
        "accepted", "declined", "withdrawn",
    }  # fmt: skip
    over = [state for state in ProposalState if state != "proposed"]
    assert not any(PROPOSAL.allows(before, after) for before in over for after in ProposalState)
    assert not any(VACANCY.allows(before, after) for before in ("filled", "closed") for after in VacancyState)


# --- Pages and REST --------------------------------------------------------------------------------------


def test_the_page_of_a_leaver_asks_somebody_about_what_is_ticked(estate, ana, boss, web):
    leave(ana)
    heir = make.person("member", name="Hana Heir")
    url = f"/succession/{ana.pk}/"
    page = web(boss).get(url).content.decode()
    assert page.count('name="vacancies"') == 3 and "acts in the interim" in page
    assert web(make.person()).get(url).content.decode().count('name="vacancies"') == 0
    ticked = [str(vacancy(estate[kind]).pk) for kind in ("server", "agent")]
    sent = web(boss).post(url, {"vacancies": ticked, "successor": heir.email, "note": ""})
    assert sent.status_code == 302
    assert Proposal.objects.waiting().filter(successor=heir).count() == 2
    refused = web(boss).post(url, {"successor": heir.email})
    assert refused.status_code == 422 and "Tick at least one" in refused.content.decode()
    assert web(make.person()).post(url, {"vacancies": ticked, "successor": heir.email}).status_code == 403
    assert web(boss).post(url, {"vacancies": ["\0"], "successor": "nobody"}).status_code == 400


def test_the_successor_answers_on_one_page_and_hears_of_it_at_home(estate, ana, boss, web):
    leave(ana)
    home = web(boss).get("/").content.decode()
    assert "What Ana left behind" in home and "/succession/" in home
    page = web(boss).get("/succession/").content.decode()
    assert page.count('name="proposals"') == 2
    mine = [str(each.pk) for each in Proposal.objects.waiting().filter(successor=boss)]
    url = "/succession/"
    assert web(boss).post(url, {"proposals": mine, "answer": "decline", "reason": ""}).status_code == 422
    stranger = web(make.person()).post(url, {"proposals": mine, "answer": "accept"})
    assert stranger.status_code in (403, 422) and Proposal.objects.waiting().filter(successor=boss).count() == 2
    assert web(boss).post(url, {"proposals": mine, "answer": "accept"}).status_code == 302
    assert System.objects.get(pk=estate["system"].pk).owner == boss
    assert web().get(url).status_code == 302


def test_security_sees_at_home_what_is_without_an_owner(estate, ana, web):
    leave(ana)
    assert "Without an owner" in web(make.person("security")).get("/").content.decode()
    assert "Without an owner" not in web(make.person("member")).get("/").content.decode()


def test_rest_asks_answers_and_hides(estate, ana, boss, api):
    secret = make.system(owner=ana, confidential=True)
    leave(ana)
    member = make.person("member")
    seen = api(member).get("/api/v1/vacancies").json()["results"]
    assert len(seen) == 3 and str(vacancy(secret).pk) not in json_of(seen)
    ids = [row["id"] for row in seen]
    body = {"vacancies": ids, "successor": str(member.pk)}
    assert api(member).post("/api/v1/proposals", body).status_code == 403
    made = api(boss).post("/api/v1/proposals", body)
    assert made.status_code == 201 and len(made.json()) == 3
    hidden = api(boss).post("/api/v1/proposals", {**body, "vacancies": [str(vacancy(secret).pk)]})
    assert hidden.status_code == 422
    proposal = made.json()[0]["id"]
    assert api(boss).post(f"/api/v1/proposals/{proposal}/accept", {}).status_code == 403
    stale = api(member).post(f"/api/v1/proposals/{proposal}/accept", {}, headers={"If-Match": '"x.1"'})
    assert stale.status_code == 412
    assert api(member).post(f"/api/v1/proposals/{proposal}/accept", {}).json()["state"] == "accepted"
    assert api(member).post(f"/api/v1/proposals/{proposal}/accept", {}).status_code == 409
    other = made.json()[1]["id"]
    assert api(member).post(f"/api/v1/proposals/{other}/decline", {"reason": "No."}).json()["state"] == "declined"
    third = made.json()[2]["id"]
    assert api(boss).post(f"/api/v1/proposals/{third}/withdraw", {"reason": "No."}).json()["state"] == "withdrawn"
    assert api().get("/api/v1/vacancies").status_code == 401
    assert api(member, "catalog.servers:read").get("/api/v1/vacancies").status_code == 403


def json_of(rows) -> str:
    return str(rows)


def test_lists_cost_the_same_however_much_is_left_behind(ana, boss, web, django_assert_max_num_queries):
    for _ in range(2):
        make.system(owner=ana)
    leave(ana)
    client = web(boss)
    client.get(f"/succession/{ana.pk}/")
    with django_assert_max_num_queries(30) as few:
        client.get(f"/succession/{ana.pk}/")
    accounts.set_active(actor=ADMIN, user=ana, active=True)
    for _ in range(6):
        make.system(owner=ana)
    leave(ana)
    with django_assert_max_num_queries(len(few.captured_queries)):
        client.get(f"/succession/{ana.pk}/")
