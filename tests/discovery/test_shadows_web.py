"""The pages of shadow servers, for those who may and those who may not; and the whole path in a browser."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from registry.catalog.models import Server
from registry.core import clock
from registry.discovery import services
from registry.discovery.models import ImportJob, Shadow, Sighting
from registry.discovery.states import ShadowState
from tests import factories as make

pytestmark = pytest.mark.django_db
URL = "https://mcp.example.test/mcp"
KEY = "k3yQ9zX1vB7mN2cT8rW4"
CONFIGURATION = json.dumps(
    {
        "mcpServers": {
            "warehouse": {"command": "npx", "args": ["-y", "@example/warehouse@1.2.3", "--api-key", KEY]},
            "search": {"url": URL, "headers": {"Authorization": "Bearer ${SEARCH_TOKEN}"}},
            "hidden": {"url": "https://hidden.example.test/mcp"},
            "broken": {"link": "https://a.example"},
        }
    }
)


def open_shadow(user: Any, **facts: Any) -> Shadow:
    shadow = make.sighting(by=user, **facts).shadow
    assert shadow is not None
    return shadow


def text(answer: Any) -> str:
    return answer.content.decode()


# --- Import ----------------------------------------------------------------------------------------------


def test_the_preview_says_of_each_entry_what_it_is(web: Any) -> None:
    make.draft(
        confidential=True, endpoints=[{"transport": "streamable-http", "url": "https://hidden.example.test/mcp"}]
    )
    server = make.draft(title="Search", endpoints=[{"transport": "streamable-http", "url": URL}])
    client = web(make.person())
    uploads = [SimpleUploadedFile("claude_desktop_config.json", CONFIGURATION.encode())]
    data = {"uploads": uploads, "place": "Ada's laptop"}
    page = text(client.post(reverse("discovery:import_new"), data, follow=True))
    assert "npm package @example/warehouse, release 1.2.3 (started by npx)" in page
    assert "not in the catalog: kept as a shadow server" in page
    assert "/mcpServers/warehouse/args/3 holds a credential after a command-line flag" in page
    assert reverse("catalog:server", args=[server.pk]) in page
    assert "in the catalog, as a server you may not see" in page
    assert "neither a command nor an address" in page
    assert "Import 3 entries" in page
    assert KEY not in page
    assert not Sighting.objects.exists()

    job = ImportJob.objects.get()
    client.post(reverse("discovery:import_start", args=[job.pk]))
    services.run_import(job_id=job.pk)
    report = text(client.get(reverse("discovery:import", args=[job.pk])))
    shadow = Shadow.objects.get()
    assert reverse("discovery:shadow", args=[shadow.pk]) in report and KEY not in report
    sighting = shadow.sightings.get()
    assert (sighting.client, sighting.place) == ("claude-desktop", "Ada's laptop: claude_desktop_config.json")


def test_who_hands_it_in_may_say_whose_it_is(web: Any) -> None:
    client = web(make.person())
    data = {"text": CONFIGURATION, "client": "windsurf"}
    client.post(reverse("discovery:import_new"), data)
    services.start_import(actor=make.acting(ImportJob.objects.get().requested_by), job=ImportJob.objects.get())
    services.run_import(job_id=ImportJob.objects.get().pk)
    assert set(Sighting.objects.values_list("client", flat=True)) == {"windsurf"}


def test_a_secret_for_a_place_is_refused_and_not_shown_again(web: Any) -> None:
    data = {"text": CONFIGURATION, "place": f"token={KEY}"}
    answer = web(make.person()).post(reverse("discovery:import_new"), data)
    assert answer.status_code == 422
    assert not ImportJob.objects.exists()
    assert "Looks like" in text(answer)


def test_a_text_that_cannot_be_read_comes_back_without_its_secrets(web: Any) -> None:
    secret = "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
    answer = web(make.person()).post(
        reverse("discovery:import_new"), {"text": f'{{"mcpServers": {{"token": "{secret}"'}
    )
    assert answer.status_code == 422 and "mcpServers" in text(answer)
    assert secret not in text(answer)


# --- The list --------------------------------------------------------------------------------------------


def test_the_list_filters_sorts_and_exports(web: Any) -> None:
    ada = make.person()
    often = open_shadow(ada, url=URL, place="a")
    make.sighting(by=ada, url=URL, place="b")
    with_key = open_shadow(ada, command="npx", args=["@a/with-key", "--api-key", KEY], client="claude-code")
    client = web(make.person("auditor"))
    page = text(client.get(reverse("discovery:shadows")))
    assert URL in page and "@a/with-key" in page and KEY not in page
    assert page.index("@a/with-key") < page.index(URL)

    def found(**asked: str) -> set[Any]:
        return {shadow.pk for shadow, _used in client.get(reverse("discovery:shadows"), asked).context["rows"]}

    assert found(inline_secret="true") == {with_key.pk}
    assert found(inline_secret="false") == {often.pk}
    assert found(client="claude-code") == {with_key.pk}
    assert found(q="with-key") == {with_key.pk}
    assert found(state="ignored") == set()
    sorted_page = client.get(reverse("discovery:shadows"), {"sort": "times"})
    assert [shadow.pk for shadow, _used in sorted_page.context["rows"]] == [often.pk, with_key.pk]
    nothing = text(client.get(reverse("discovery:shadows"), {"state": "ignored"}))
    assert "Nothing matches" in nothing
    csv = b"".join(client.get(reverse("discovery:shadows_csv"), {"sort": "times"}).streaming_content).decode()
    assert csv.count("\n") == 3 and "npm:@a/with-key" in csv and KEY not in csv


def test_an_empty_list_says_what_would_be_here(web: Any) -> None:
    page = text(web(make.person()).get(reverse("discovery:shadows")))
    assert "Nothing was seen yet" in page and "/api/v1/sightings" in page


@pytest.mark.parametrize("sort", ["", "times"])
def test_the_pages_of_the_list_hold_everything_once(web: Any, sort: str) -> None:
    ada = make.person()
    for number in range(53):
        make.sighting(by=ada, url=f"{URL}/{number}")
    client, seen = web(ada), []
    address: str | None = f"{reverse('discovery:shadows')}?sort={sort}"
    while address:
        context = client.get(address).context
        seen += [shadow.pk for shadow, _used in context["rows"]]
        address = context["page"].older
    assert len(seen) == len(set(seen)) == 53


def test_the_pages_ask_the_database_a_fixed_number_of_times(web: Any, django_assert_max_num_queries: Any) -> None:
    ada = make.person("auditor")
    server = make.draft(endpoints=[{"transport": "streamable-http", "url": f"{URL}/known"}])
    for number in range(12):
        make.sighting(by=make.person(), url=f"{URL}/{number}")
        make.sighting(by=make.person(), url=f"{URL}/0", place=f"laptop {number}")
        make.sighting(by=make.person(), url=f"{URL}/known")
    shadow = Shadow.objects.get(canonical_uri=f"{URL}/0")
    client = web(ada)
    client.get(reverse("discovery:shadows"))
    with django_assert_max_num_queries(8):
        client.get(reverse("discovery:shadows"))
    with django_assert_max_num_queries(14):
        client.get(reverse("discovery:shadow", args=[shadow.pk]))
    with django_assert_max_num_queries(9):
        panel = client.get(reverse("discovery:server_sightings", args=[server.pk]), HTTP_HX_REQUEST="true")
    assert "newest 10 of 12" in text(panel)


# --- One shadow ------------------------------------------------------------------------------------------


def test_the_page_tells_where_it_is_used_and_what_to_do(web: Any) -> None:
    ada = make.person(name="Ada")
    shadow = open_shadow(
        ada, command="npx", args=["-y", "@a/b@1.0.0", "--api-key", KEY], env={"DB_TOKEN": "${DB_TOKEN}"}, place="Ada's"
    )
    page = text(web(ada).get(reverse("discovery:shadow", args=[shadow.pk])))
    for said in (
        "npm:@a/b",
        "Ada&#x27;s",
        "told by Ada",
        "Rotate it first",
        "args/3",
        "DB_TOKEN",
        "Leave alone",
        "Link",
    ):
        assert said in page, said
    assert KEY not in page
    assert "package_identifier=%40a%2Fb" in page
    other = text(web(make.person()).get(reverse("discovery:shadow", args=[shadow.pk])))
    assert "Leave alone" not in other and "Security, an administrator" in other
    assert web(make.outsider()).get(reverse("discovery:shadow", args=[shadow.pk])).status_code == 403


def test_acts_of_the_page(web: Any) -> None:
    ada, server = make.person(), make.draft()
    shadow = open_shadow(ada)
    client, page = web(ada), reverse("discovery:shadow", args=[shadow.pk])
    until = (clock.today() + timedelta(days=30)).isoformat()

    refused = client.post(reverse("discovery:shadow_ignore", args=[shadow.pk]), {"reason": "", "until": until})
    assert refused.status_code == 422 and shadow.canonical_uri in text(refused)
    refused = client.post(
        reverse("discovery:shadow_ignore", args=[shadow.pk]), {"reason": "Ours.", "until": "2020-01-01"}
    )
    assert refused.status_code == 422 and "still to come" in text(refused)
    client.post(reverse("discovery:shadow_ignore", args=[shadow.pk]), {"reason": "Ours.", "until": until})
    assert "Left alone until" in text(client.get(page))
    client.post(reverse("discovery:shadow_reopen", args=[shadow.pk]), {"reason": ""})
    refused = client.post(reverse("discovery:shadow_link", args=[shadow.pk]), {"server": "com.example/none"})
    assert refused.status_code == 422 and "No server is called that" in text(refused)
    done = client.post(reverse("discovery:shadow_link", args=[shadow.pk]), {"server": server.name}, follow=True)
    assert "Linked to" in text(done)
    shadow.refresh_from_db()
    assert (shadow.state, shadow.server) == (ShadowState.LINKED, server)
    stranger = web(make.person())
    assert stranger.post(reverse("discovery:shadow_reopen", args=[shadow.pk]), {}).status_code in (403, 422)
    shadow.refresh_from_db()
    assert shadow.state == ShadowState.LINKED


def test_what_became_confidential_is_not_there(web: Any) -> None:
    ada = make.person()
    shadow = open_shadow(ada)
    security = make.acting(make.person("security"))
    services.link_shadow(actor=security, shadow=shadow, server=make.draft(confidential=True))
    assert web(ada).get(reverse("discovery:shadow", args=[shadow.pk])).status_code == 404
    assert web(ada).post(reverse("discovery:shadow_reopen", args=[shadow.pk]), {}).status_code == 404


def test_the_server_page_has_its_panel(web: Any) -> None:
    server = make.draft(endpoints=[{"transport": "streamable-http", "url": URL}])
    panel = reverse("discovery:server_sightings", args=[server.pk])
    client = web(make.person())
    assert panel in text(client.get(reverse("catalog:server", args=[server.pk])))
    assert "In no client" in text(client.get(panel))
    make.sighting(url=URL, headers={"X-Api-Key": KEY}, place="laptop 7")
    page = text(client.get(panel))
    assert "Seen in 1 configuration" in page and "laptop 7" not in page and "X-Api-Key" not in page
    page = text(web(make.person("security")).get(panel))
    assert "laptop 7" in page and "headers/X-Api-Key" in page and KEY not in page
    hidden = make.draft(confidential=True)
    assert client.get(reverse("discovery:server_sightings", args=[hidden.pk])).status_code == 404


def test_the_registration_starts_with_what_is_known(web: Any) -> None:
    asked = {"title": "Search", "transport": "streamable-http", "url": URL}
    page = text(web(make.person()).get(reverse("portal:register_by_hand"), asked))
    assert f'value="{URL}"' in page and 'value="Search"' in page
    assert "alert(1)" not in text(
        web(make.person()).get(reverse("portal:register_by_hand"), {"url": '"><script>alert(1)</script>'})
    ).replace("&lt;script&gt;alert(1)", "")


# --- In a browser ----------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_from_a_configuration_over_its_shadow_to_a_registered_server(new_page: Any) -> None:
    ada = make.person()
    page = new_page(ada)
    page.goto(reverse("discovery:import_new"))
    page.get_by_label("Or paste it").fill(CONFIGURATION)
    page.get_by_label("Whose configuration it is").select_option("cursor")
    page.get_by_label("Where it is used").fill("Ada's laptop")
    page.get_by_role("button", name="Read and preview").click()
    page.get_by_text("/mcpServers/warehouse/args/3 holds a credential").wait_for()
    assert KEY not in page.content()
    page.get_by_role("button", name="Import 3 entries").click()
    page.wait_for_url("**/imports/*/")
    services.run_import(job_id=ImportJob.objects.get().pk)

    page.goto(reverse("catalog:servers"))
    page.get_by_role("link", name="Seen but not registered").click()
    page.get_by_role("link", name=URL).click()
    page.get_by_role("heading", name=URL).wait_for()
    page.get_by_role("link", name="Register it").click()
    assert page.locator("input[name='endpoints-0-url']").input_value() == URL
    assert page.locator("input[name='title']").input_value() == "search"
    page.locator("input[name='name']").fill("com.example/search")
    page.locator("form button.primary").first.click()
    page.wait_for_url("**/register/*/people/")
    server = Server.objects.get(name="com.example/search")
    services.settle_registered(server_id=server.pk)

    page.goto(reverse("discovery:shadows"))
    row = page.get_by_role("row", name=URL)
    assert "Registered" in row.inner_text()
    page.get_by_role("link", name="@example/warehouse").click()
    form = page.locator("form[action$='/ignore/']")
    form.get_by_label("Why it may be left alone").fill("A test of ours.")
    form.get_by_label("Until").fill((clock.today() + timedelta(days=20)).isoformat())
    form.get_by_role("button").click()
    page.get_by_text("Left alone until that day").wait_for()
    assert Shadow.objects.get(label="@example/warehouse").state == ShadowState.IGNORED
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for address in (reverse("discovery:shadows"), page.url):
            page.goto(address)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (address, width)
