"""An auditor reads everything and changes nothing; with another role besides they take part by that one."""

from datetime import timedelta

import pytest
from django.urls import reverse

from registry.accounts.models import User
from registry.catalog import services as catalog
from registry.catalog.models import Vacancy
from registry.core import clock
from registry.core.errors import Invalid, NotAllowed, RegistryError
from registry.core.permissions import ONLY_READS
from registry.discovery import services as discovery
from registry.reviews import services as reviews
from registry.reviews.pools import may_review
from registry.trust import services as trust
from tests import factories as make

pytestmark = pytest.mark.django_db

OFFERS = {
    "portal:home": ["portal:register"],
    "catalog:servers": ["portal:register"],
    "catalog:systems": ["catalog:system_new"],
    "catalog:agents": ["catalog:agent_new"],
    "discovery:imports": ["discovery:import_new"],
    "discovery:shadows": ["discovery:import_new"],
    "discovery:secret_sources": ["portal:register"],
    "trust:relationships": ["trust:request_grant", "trust:request_connection"],
    "trust:explore": ["trust:request_grant"],
}
"""Pages, and what they offer to members, also while there is nothing to list."""


@pytest.fixture
def auditor() -> User:
    return make.person("auditor", name="Aud Auditor")


def acts(user: User) -> list[object]:
    """What members do, each as a call."""
    by = make.acting(user)
    server, agent, system = make.active_server(), make.agent(), make.system()
    relationship = {"reason": "Needed.", "valid_until": clock.now() + timedelta(days=30)}
    owner = make.person()
    return [
        lambda: catalog.register_server(actor=by, name="com.example/new"),
        lambda: catalog.register_system(actor=by, name="New", kind="database", data_class="internal", owner=owner),
        lambda: catalog.register_agent(actor=by, name="New", spiffe_id="spiffe://example.test/new", owner=owner),
        lambda: discovery.import_entries(actor=by, files=[]),
        lambda: discovery.report_sightings(actor=by, entries=[]),
        lambda: discovery.look_at_address(actor=by, address="https://new.example.test/mcp"),
        lambda: trust.request_grant(actor=by, agent=agent, server=server, tools=["query"], **relationship),
        lambda: trust.request_connection(actor=by, server=server, system=system, access="read", **relationship),
    ]


def test_an_auditor_is_told_that_they_only_read(auditor):
    for act in acts(auditor):
        with pytest.raises(NotAllowed) as refused:
            act()
        assert ONLY_READS in refused.value.message


def test_an_auditor_who_is_a_member_too_takes_part():
    for act in acts(make.person("auditor", "member")):
        try:
            act()
        except NotAllowed:
            raise
        except RegistryError:
            pass  # heard, and refused for what was said


def test_the_emergency_role_of_an_auditor_takes_part_for_its_time(auditor):
    User.objects.filter(pk=auditor.pk).update(elevated_role="security", elevated_until=clock.now() + timedelta(hours=1))
    auditor.refresh_from_db()
    assert catalog.register_server(actor=make.acting(auditor), name="com.example/in-need")


class TestPages:
    @pytest.mark.parametrize("page", OFFERS)
    def test_what_an_auditor_may_not_do_is_not_offered(self, web, page):
        for roles, offered in ((("auditor",), False), (("auditor", "member"), True)):
            text = web(make.person(*roles)).get(reverse(page)).text
            assert {f'"{reverse(each)}' in text for each in OFFERS[page]} == {offered}, (roles, page)

    def test_panels_of_a_server_offer_nothing_either(self, web, auditor):
        server = make.active_server()
        panels = {"trust:server_panel": "trust:request_grant", "discovery:server_sightings": "discovery:import_new"}
        for panel, act in panels.items():
            for reader, offered in ((auditor, False), (make.person(), True)):
                text = web(reader).get(reverse(panel, args=[server.pk])).text
                assert (reverse(act) in text) == offered, panel

    def test_the_page_itself_says_why(self, web, auditor):
        answer = web(auditor).get(reverse("portal:register"))
        assert (answer.status_code, ONLY_READS in answer.text) == (403, True)

    def test_what_is_their_own_stays_theirs(self, web, auditor):
        browser = web(auditor)
        assert browser.post(reverse("accounts:account"), {"single_keys": "on"}).status_code == 302
        assert make.token_for(auditor, "read")
        assert browser.get(reverse("reviews:packs")).status_code == 200


class TestNaming:
    """Nobody is made to answer for, or to decide on, what they oversee."""

    def test_for_a_server(self, auditor):
        server = make.draft(created_by=make.person())
        for part in ("owner", "deputy", "operator"):
            named = {"owner": server.created_by, "deputy": None, "team": None, part: auditor}
            with pytest.raises(Invalid) as wrong:
                catalog.assign_people(actor=make.acting(server.created_by), server=server, **named)
            assert "is an auditor and only reads" in wrong.value.fields[part][0]

    def test_for_a_system_or_an_agent(self, auditor):
        owner = make.person()
        system, agent = make.system(owner=owner), make.agent(owner=owner)
        for wrong in (
            lambda: make.system(owner=auditor),
            lambda: make.agent(owner=auditor),
            lambda: catalog.update_system(actor=make.acting(owner), system=system, owner=auditor),
            lambda: catalog.update_agent(actor=make.acting(owner), agent=agent, owner=auditor),
        ):
            with pytest.raises(Invalid) as refused:
                wrong()
            assert "only reads" in refused.value.fields["owner"][0]
        assert make.system(owner=make.person("auditor", "member"))

    def test_what_they_had_before_stays_theirs_until_it_is_handed_over(self):
        owner = make.person()
        system = make.system(owner=owner)
        owner.roles = ["auditor"]
        owner.save()
        changed = catalog.update_system(actor=make.acting(owner), system=system, description="Still here.")
        assert changed.owner == owner

    def test_as_successor(self, auditor):
        vacancy = Vacancy.objects.create(agent=make.agent(), former_owner=make.person(active=False))
        with pytest.raises(Invalid) as refused:
            catalog.propose_successor(
                actor=make.acting(make.person("administrator")), vacancies=[vacancy], successor=auditor
            )
        assert "only reads" in refused.value.fields["successor"][0]

    def test_as_reviewer(self, auditor):
        reviewer = make.person("reviewer")
        make.grant()
        campaign = make.campaign(reviewer, kinds=["grant"])
        held = make.work_of(campaign.items.get())
        assert not may_review(auditor, "grant") and may_review(make.person(), "grant")
        with pytest.raises(Invalid, match="may not review"):
            reviews.reassign_work_item(actor=make.acting(campaign.owner), work_item=held, to=auditor, note="Please.")
        with pytest.raises(Invalid):
            make.template(auditor)
