"""What somebody may not see is not named to them because they run campaigns: a role over reviews is no way around
what is confidential. Its campaign's owner and those who oversee see all of it."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from django.urls import reverse

from registry.accounts.models import User
from registry.reviews.gate import gate
from registry.reviews.models import Campaign, Letter
from registry.reviews.preview import preview
from registry.reviews.services.notices import in_charge_of, tell_of_stuck
from registry.reviews.waiting import waiting
from tests import factories as make

pytestmark = pytest.mark.django_db
NAME = "Zqxpayroll"


@pytest.fixture(scope="module")
def world(kept: Any) -> Any:
    """A staged campaign with a confidential server whose only possible reviewer owns it, and an open server."""
    owner = make.person("reviewer", name="Cora Confidential")
    server = make.active_server(owner=owner, name=f"com.example/{NAME.lower()}", title=NAME, confidential=True)
    grant, connection = (
        make.grant(server=server, requested_by=owner),
        make.connection(server=server, requested_by=owner),
    )
    plain = make.active_server(owner=make.person(), title="Weather")
    runs = make.person("campaign_manager", name="Runa Runs")
    first = make.campaign(make.person("reviewer"), kinds=["server"], owner=runs, name="First")
    staged = make.campaign(owner, kinds=["server", "grant", "connection"], owner=runs, name="Second")
    return SimpleNamespace(
        server=server,
        grant=grant,
        connection=connection,
        plain=plain,
        runs=runs,
        first=first,
        staged=staged,
        owner=owner,
    )


def secrets_of(world: Any) -> list[str]:
    return [NAME.lower(), *(str(each.pk) for each in (world.server, world.grant, world.connection))]


def text_of(answer: Any) -> str:
    return (b"".join(answer.streaming_content) if answer.streaming else answer.content).decode().lower()


@pytest.fixture(scope="module")
def mere(kept: Any) -> User:
    """Runs campaigns, and owns none of them."""
    return make.person("reviewer", "campaign_manager", name="Mere Manager")


def test_the_population_is_as_visible_as_what_it_names(world, web, api, mere):
    for campaign, hidden in ((world.first, 1), (world.staged, 3)):
        url = reverse("reviews:campaign_export", args=[campaign.pk, "population", "csv"])
        rest = f"/api/v1/campaigns/{campaign.pk}/population"
        told = json.loads(text_of(api(mere).get(f"{rest}.json")))
        assert told["hidden"] == hidden
        assert told["rows"] == campaign.population.count() - hidden
        for text in (text_of(web(mere).get(url)), text_of(api(mere).get(f"{rest}.csv")), json.dumps(told)):
            assert not [each for each in secrets_of(world) if each in text]
        assert f"# hidden,{hidden}" in text_of(web(mere).get(url)).replace('"', "")
        for who in (world.runs, make.person("auditor")):
            told = json.loads(text_of(api(who).get(f"{rest}.json")))
            assert (told["hidden"], told["rows"]) == (0, campaign.population.count())


def test_no_page_of_a_campaign_names_it(world, web, api, mere):
    User.objects.filter(pk=world.owner.pk).update(is_active=False)
    template = world.staged.template_id
    doors = [
        *(reverse(f"reviews:{page}", args=[world.staged.pk]) for page in ("campaign", "report", "campaign_assign")),
        reverse("reviews:launch", args=[template]),
        *(f"/api/v1/campaigns/{world.staged.pk}{rest}" for rest in ("", "/summary", "/simulation", "/items.csv")),
        f"/api/v1/templates/{template}/preview",
    ]
    for door in doors:
        client = api if door.startswith("/api/") else web
        answer = client(mere).get(door)
        assert answer.status_code == 200, door
        text = text_of(answer)
        assert not [each for each in secrets_of(world) if each in text], door
    assert "things in the way that you may not see" in text_of(web(mere).get(doors[0]))
    assert NAME.lower() in text_of(web(world.runs).get(doors[0])), "its owner has to mend it"


def test_what_blocks_is_counted_for_everybody(world, mere):
    User.objects.filter(pk=world.owner.pk).update(is_active=False)
    everything, some = gate(world.staged), gate(world.staged, reader=make.acting(mere))
    assert some.problems == everything.problems
    assert everything.hidden == 0
    assert some.hidden > 0
    assert len(some.without_reviewer) + len(some.ownerless) + some.hidden == (
        everything.without_reviewer_count + everything.ownerless_count
    )
    before, after = preview(world.staged.template), preview(world.staged.template, make.acting(mere))
    assert (before.without_count, before.ownerless_count) == (after.without_count, after.ownerless_count)
    assert NAME not in f"{after.without}{after.ownerless}"


def test_nobody_hands_out_what_they_may_not_see(world, web, api, mere):
    item = world.staged.items.get(grant=world.grant)
    answer = api(mere).post(
        f"/api/v1/campaigns/{world.staged.pk}/assign-reviewer",
        {"to": str(mere.pk), "items": [str(item.pk)]},
        format="json",
        headers={"if-match": "*"},
    )
    assert answer.status_code == 422
    assert not item.work_items.filter(reviewer=mere).exists()


def test_letters_and_what_waits_name_it_to_those_who_may_see_it(world, mere):
    User.objects.filter(pk=world.runs.pk).update(is_active=False)
    item = world.staged.items.filter(grant=world.grant).select_related("campaign__owner").get()
    assert tell_of_stuck(item)
    letter = Letter.objects.get(to=mere, key__startswith="stuck")
    assert NAME.lower() not in f"{letter.subject}{letter.text}{letter.html}".lower()
    assert not [each for each in waiting(make.acting(mere)) if NAME in f"{each.title}{each.detail}"]


def test_a_single_review_of_it_is_no_managers_business(mere):
    administrator = make.person("administrator")
    make.person("reviewer")
    campaign = make.intake(make.submitted_server(confidential=True, title=NAME)).campaign
    Campaign.objects.filter(pk=campaign.pk).update(owner=None)
    campaign.refresh_from_db()
    assert in_charge_of(campaign) == [administrator]
