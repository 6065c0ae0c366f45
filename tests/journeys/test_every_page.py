"""What holds for every main page: accessible in both themes and widths, no noise, no sideways scrolling, small."""

from datetime import timedelta

import pytest
from django.urls import reverse

from registry.catalog.services import set_certified_until
from registry.core import clock
from registry.trust.services import approve_grant, request_connection, request_grant
from tests import factories as make
from tests.browser import press, settled, violations

STEPS = ("identity", "people", "purpose", "tools", "systems", "secrets", "revocation", "check")
FOREIGN = "#swagger-ui"  # Swagger UI is not ours: its own headings and colours are left to it
MAX_BYTES = 60_000


@pytest.fixture
def addresses(transactional_db):
    """A small organisation, its owner who is also security, and the pages to look at."""
    owner = make.person("security", name="Ona Owner")
    team = make.team(owner, name="Data Platform")
    server = make.active_server(owner=owner, in_team=team, title="Warehouse SQL", data_classes=("confidential",))
    set_certified_until(actor=make.SYSTEM_ACTOR, thing=server, until=clock.now() + timedelta(days=20))
    agent, system = make.agent(name="Forecast agent"), make.system(name="Ledger replica", data_class="confidential")
    terms = {"server": server, "reason": "Needed.", "valid_until": clock.now() + timedelta(days=60)}
    reviewer = make.acting(make.person("reviewer"))
    grant = request_grant(actor=make.acting(agent.owner), agent=agent, tools=["query"], **terms)
    approve_grant(actor=reviewer, grant=grant)
    request_connection(actor=make.acting(owner), system=system, access="write", **terms)
    draft = make.draft(created_by=owner, title="Begun")
    returned = make.submitted_server(owner=owner, title="Waiting")
    make.issuer()

    def of(name, *args):
        return reverse(name, args=args)

    pages = [
        of("portal:home"),
        of("portal:search") + "?q=ware",
        of("portal:register"),
        of("portal:register_by_hand"),
        *(of("portal:registration", draft.pk, step) for step in STEPS),
        of("portal:api_docs"),
        of("catalog:servers"),
        of("catalog:servers") + "?lifecycle=active&q=absent",
        *(of("catalog:server", each.pk) for each in (server, draft, returned)),
        *(of("catalog:server_tab", server.pk, tab) for tab in ("tools", "trust", "reviews", "history")),
        of("catalog:suspend", server.pk),
        of("catalog:systems"),
        of("catalog:system", system.pk),
        of("catalog:system_new"),
        of("catalog:agents"),
        of("catalog:agent", agent.pk),
        of("catalog:agent_new"),
        of("catalog:issuers"),
        of("catalog:issuer_new"),
        of("trust:relationships"),
        of("trust:grant", grant.pk),
        of("trust:request_grant"),
        of("reviews:campaigns"),
        of("reviews:templates"),
        of("reviews:inbox"),
        of("reviews:certificates"),
    ]
    return owner, pages


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_is_accessible_quiet_and_small(addresses, new_page):
    """Each page is loaded once; theme and width change under it, as they do on a desk."""
    owner, pages = addresses
    # Without motion, a colour is the new theme's at once and not on its way there.
    page = new_page(owner, reduced_motion="reduce")
    troubles = []
    for address in pages:
        page.set_viewport_size({"width": 1440, "height": 900})
        response = page.goto(address)
        settled(page)
        size = len(response.body())
        if response.status != 200:
            troubles.append(f"{address}: answers {response.status}")
        if size > MAX_BYTES:
            troubles.append(f"{address}: {size} bytes")
        for width, theme in ((1440, "light"), (1440, "dark"), (390, "dark"), (390, "light")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=theme)
            troubles += [f"{address} ({theme}, {width}): {trouble}" for trouble in violations(page, FOREIGN)]
        page.set_viewport_size({"width": 320, "height": 640})
        if (over := overflow(page)) > 0:
            troubles.append(f"{address}: {over} px too wide for a small screen")
    assert not troubles, "\n".join(troubles)


def test_the_registration_by_keyboard_alone(addresses, new_page):
    """Tab to a field, type, Ctrl Enter; the summary of what is wrong takes the focus and links to the field."""
    owner, _pages = addresses
    page = new_page(owner)
    page.goto(reverse("portal:register_by_hand"))
    page.locator("[name=name]").focus()
    page.keyboard.type("warehouse")
    press(page, "Control+Enter")
    page.locator("[data-errors]").wait_for()
    assert page.evaluate("document.activeElement.hasAttribute('data-errors')")
    press(page, "Tab")
    press(page, "Enter")
    assert page.evaluate("document.activeElement.id") == "id_name" or page.url.endswith("#id_name")
    page.locator("[name=name]").fill("com.example/by-keyboard")
    page.locator("[name=endpoints-0-url]").fill("https://keyboard.example.test/mcp")
    press(page, "Control+Enter")
    page.wait_for_url("**/people/")


def test_rows_are_added_in_place_and_a_lookup_suggests(addresses, new_page):
    owner, _pages = addresses
    page = new_page(owner)
    page.goto(reverse("portal:register_by_hand"))
    page.locator("[name=name]").fill("com.example/rows")
    page.locator("[name=endpoints-0-url]").fill("https://rows.example.test/mcp")
    page.get_by_role("button", name="Another endpoint").click()
    page.locator("[name=endpoints-1-url]").wait_for()
    assert page.locator("[name=endpoints-0-url]").input_value() == "https://rows.example.test/mcp"
    page.locator("button[name=next]").click()
    page.wait_for_url("**/people/")
    page.locator("#people-options option").first.wait_for(state="attached")
    page.locator("[name=deputy]").fill("")
    page.locator("[name=deputy]").type("ona")
    page.locator("#people-options option").nth(1).wait_for(state="detached")
    assert page.locator("#people-options option").get_attribute("value") == owner.email


def test_the_reference_is_drawn_without_breaking_the_policy(addresses, new_page):
    owner, _pages = addresses
    page = new_page(owner)
    page.goto(reverse("portal:api_docs"))
    page.locator("#swagger-ui .opblock-tag").first.wait_for()
    assert page.locator("#swagger-ui .opblock-tag").count() >= 5
