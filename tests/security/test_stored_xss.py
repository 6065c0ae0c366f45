"""Texts of strangers are shown on every page and run on none."""

from urllib.parse import quote

import pytest
from django.urls import reverse

from tests import factories as make
from tests.browser import settled
from tests.security import hostile

pytestmark = pytest.mark.django_db


def pages(estate: hostile.Estate) -> list[str]:
    """Every page that shows something of the estate: lists, details, panels, forms, pictures."""
    of = {
        "catalog:server": estate.server, "catalog:suspend": estate.server, "catalog:retire": estate.server,
        "catalog:system": estate.system, "catalog:system_edit": estate.system, "catalog:system_retire": estate.system,
        "catalog:agent": estate.agent, "catalog:agent_edit": estate.agent,
        "trust:grant": estate.grant, "trust:connection": estate.connection, "trust:grant_revoke": estate.grant,
        "trust:grant_reduce": estate.grant, "trust:connection_suspend": estate.connection,
        **dict.fromkeys(
            ("trust:server_panel", "trust:server_relationships", "trust:server_sources", "trust:server_radius",
             "trust:server_impact", "discovery:definitions_panel", "discovery:server_probes", "discovery:looks",
             "discovery:server_sightings", "discovery:server_secrets", "discovery:published_panel",
             "reviews:server_panel", "audit:server_story"), estate.server,
        ),
        "trust:agent_radius": estate.agent, "trust:agent_impact": estate.agent, "reviews:agent_panel": estate.agent,
        "trust:system_radius": estate.system, "trust:system_impact": estate.system,
        "trust:team_radius": estate.team, "trust:team_impact": estate.team,
        "trust:person_impact": estate.server.owner, "accounts:person": estate.server.owner,
        "catalog:holdings": estate.server.owner,
        "discovery:probe": estate.probe, "discovery:shadow": estate.sighting.shadow,
        "discovery:secret_source": make.source_of(estate.server),
        "reviews:campaign": estate.campaign, "reviews:report": estate.campaign, "reviews:actions": estate.campaign,
    }  # fmt: skip
    lists = (
        "portal:home", "catalog:servers", "catalog:servers_completeness", "catalog:systems", "catalog:agents",
        "catalog:system_new", "trust:relationships", "trust:requests", "trust:hygiene", "trust:explore",
        "trust:request_grant", "trust:combination_new", "discovery:drifts", "discovery:shadows",
        "discovery:secret_sources", "discovery:publishing", "discovery:published", "reviews:campaigns",
        "reviews:certificates", "reviews:statistics", "reviews:templates", "accounts:people", "accounts:teams",
        "accounts:machine_findings", "audit:events", "catalog:succession",
    )  # fmt: skip
    found = [reverse(name) for name in lists]
    found += [reverse(name, args=[thing.pk]) for name, thing in of.items()]
    found += [reverse("catalog:server_tab", args=[estate.server.pk, tab]) for tab in ("tools", "trust", "history")]
    found += [
        reverse("accounts:team", args=[estate.team.slug]),
        reverse("reviews:item", args=[estate.campaign.pk, estate.item.pk]),
        f"{reverse('portal:search')}?q={hostile.SHORT[:60].encode().hex()}",
        f"{reverse('trust:explore')}?of=server:{estate.server.pk}",
    ]
    return found


@pytest.fixture(scope="module")
def estate(kept):
    return hostile.estate()


def test_no_page_holds_anything_that_runs(estate, web, kept):
    client, live, hidden, shown = web(estate.reader), {}, [], 0
    for address in pages(estate):
        answer = client.get(address)
        assert answer.status_code == 200, f"{address}: {answer.status_code}"
        text = answer.content.decode()
        if parts := hostile.live_parts(text):
            live[address] = parts[:3]
        if any(character in text for character in hostile.HIDDEN):
            hidden.append(address)
        shown += "&lt;zq-live" in text
    assert not live
    assert not hidden, "what cannot be seen is spelled out"
    assert shown > 40, f"only {shown} pages showed a hostile text, so little was tried"


TYPED = (hostile.SHORT, '"><script>zq=1</script>', "javascript:zq=1", "\u202egnp.exe")


@pytest.mark.parametrize(
    "address",
    ["/search/?q={}", "/servers/?q={}", "/servers/?lifecycle={}", "/audit?q={}", "/trust/?status={}",
     "/sign-in?next={}", "/trust/explore/?of={}", "/people?q={}", "/{}", "/servers/com.example/{}/"],
)  # fmt: skip
def test_what_is_typed_into_an_address_comes_back_as_text(estate, web, kept, address):
    client = web() if address.startswith("/sign-in") else web(estate.reader)
    for typed in TYPED:
        text = client.get(address.format(quote(typed, safe="")), follow=True).content.decode()
        assert hostile.live_parts(text) == [], typed
        assert "\u202e" not in text, typed


@pytest.mark.parametrize("field", ["website_url", "repository_url"])
@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "JaVaScRiPt:alert(1)", "vbscript:x"])
def test_addresses_that_run_are_refused_over_rest(api, field, address):
    owner = make.person()
    server = make.draft(created_by=owner)
    answer = api(owner).patch(f"/api/v1/servers/{server.pk}", {field: address}, headers={"If-Match": server.etag})
    assert answer.status_code == 422, answer.content
    server.refresh_from_db()
    assert getattr(server, field) == ""


def test_an_endpoint_that_runs_is_refused(api):
    answer = api(make.person()).post(
        "/api/v1/servers",
        {"name": "com.example/runs", "endpoints": [{"transport": "streamable-http", "url": hostile.LINK}]},
    )
    assert answer.status_code == 422 and "endpoints" in answer.content.decode()


def test_pictures_and_files_of_hostile_names_are_no_pages(estate, web, kept):
    """What is opened directly is either a download or well-formed and without anything that runs."""
    client = web(estate.reader)
    for address in (
        f"/trust/explore.svg?of=server:{estate.server.pk}",
        reverse("catalog:server_json", args=[estate.server.pk]),
        f"/trust/explore.json?of=server:{estate.server.pk}",
    ):
        answer = client.get(address)
        text = b"".join(answer.streaming_content).decode() if answer.streaming else answer.content.decode()
        assert answer.status_code == 200, address
        assert answer["X-Content-Type-Options"] == "nosniff"
        if answer["Content-Type"].startswith("image/svg"):
            assert answer["Content-Disposition"].startswith("attachment")
            assert hostile.live_parts(text) == []
        else:
            assert answer["Content-Type"].startswith("application/json"), address


@pytest.mark.django_db(transaction=True)
def test_a_real_browser_runs_none_of_it(new_page):
    """`new_page` fails on whatever the content security policy reports, and on every error of a script."""
    estate = hostile.estate()
    page = new_page(estate.reader)
    opened: list[str] = []
    page.on("dialog", lambda dialog: (opened.append(dialog.message), dialog.dismiss()))
    for address in (
        reverse("catalog:server_tab", args=[estate.server.pk, "tools"]),
        reverse("trust:grant", args=[estate.grant.pk]),
        f"{reverse('trust:explore')}?of=server:{estate.server.pk}",
        reverse("reviews:item", args=[estate.campaign.pk, estate.item.pk]),
    ):
        assert page.goto(address).status == 200
        settled(page)
        assert page.evaluate("typeof zq") == "undefined", address
        assert page.locator("zq-live").count() == 0
        page.locator("main").click(position={"x": 5, "y": 5})
    assert opened == []
