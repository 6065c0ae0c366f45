"""The main job in a real browser with a real worker: register, review, return, correct, activate, recertify, ask.

One story told once, because each step needs what the one before left behind.
"""

import json
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from registry.catalog.models import Server
from registry.core import clock
from registry.reviews.models import Campaign, Certificate, WorkItem
from registry.trust.models import Connection, Grant
from registry.trust.services import approve_grant, request_grant
from tests import factories as make

pytestmark = pytest.mark.worker

PUBLISHED = json.loads((Path(__file__).parent.parent / "data" / "context7.json").read_text())["entry"]
TOKEN_SHAPED = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"  # looks like a token, is none
REASON = "Say which repositories it reads, and who is on call."


class Desk:
    """One person at their own browser."""

    def __init__(self, page, user):
        self.page, self.user = page, user

    def sign_in(self):
        self.page.goto("/")
        self.page.get_by_label("E-mail").fill(self.user.email)
        self.page.get_by_label("Password").fill(make.PASSWORD)
        self.page.get_by_role("button", name="Sign in", exact=True).click()
        self.sees("My work")
        return self

    def sees(self, *words):
        for each in words:
            self.page.locator(".main").get_by_text(each).first.wait_for()

    def presses(self, name, **options):
        self.page.get_by_role("button", name=name, **options).first.click()

    def follows(self, name, **options):
        self.page.get_by_role("link", name=name, **options).first.click()

    def fills(self, **fields):
        for name, value in fields.items():
            self.page.locator(f"[name='{name.replace('__', '-')}']").fill(value)

    def chooses(self, **fields):
        for name, value in fields.items():
            self.page.locator(f"select[name='{name.replace('__', '-')}']").select_option(value)

    def goes_on(self):
        self.page.locator("button[name=next]").click()


@pytest.fixture
def desk(new_page):
    return lambda user: Desk(new_page(), user).sign_in()


@pytest.fixture
def cast(transactional_db):
    """The people, and an agent that will call the server."""

    class Cast:
        owner = make.person(name="Ona Owner", email="ona@example.test")
        deputy = make.person(name="Dara Deputy", email="dara@example.test")
        reviewer = make.person("reviewer", name="Rita Reviewer", email="rita@example.test")
        manager = make.person("campaign_manager", name="Mo Manager", email="mo@example.test")
        agent = make.agent(name="Forecast agent", owner=make.person(name="Abe Agentsson"))
        team = make.team(owner, name="Developer Experience")

    return Cast


def test_from_a_published_entry_to_a_certificate_and_the_same_facts_over_rest(cast, desk, worker, live_server):
    owner, reviewer = desk(cast.owner), desk(cast.reviewer)

    register(owner, cast)
    server = Server.objects.get()
    assert (server.lifecycle, server.name) == ("submitted", PUBLISHED["name"])

    opens_the_intake(reviewer, worker)
    returns_it(reviewer)
    server.refresh_from_db()
    assert (server.lifecycle, server.lifecycle_reason) == ("draft", REASON)

    corrects_it(owner)
    opens_the_intake(reviewer, worker)
    activates_it(reviewer)
    server.refresh_from_db()
    assert server.lifecycle == "active"
    assert all(tool.approved for tool in server.tools.filter(retired_at=None))
    assert Connection.objects.get().status == "active"

    grant = request_grant(
        actor=make.acting(cast.agent.owner),
        agent=cast.agent,
        server=server,
        tools=["query-docs"],
        reason="Looks up library documentation while planning.",
        valid_until=clock.now() + timedelta(days=90),
    )
    approve_grant(actor=make.acting(cast.reviewer), grant=grant)

    campaign = launches_a_campaign(desk(cast.manager), worker)
    decides_and_signs(reviewer, campaign)
    shows_certificates(reviewer, server)
    answers_the_same_over_rest(cast, live_server, server)


def register(owner, cast):
    """The wizard, from a pasted server.json to the submission."""
    owner.follows("Register server")
    owner.page.get_by_label("server.json").fill(json.dumps(PUBLISHED, indent=2))
    owner.presses("Read it and start the draft")
    owner.sees("Draft saved.")
    assert owner.page.locator("[name=name]").input_value() == PUBLISHED["name"]
    assert owner.page.locator("[name=endpoints-0-package_identifier]").input_value() == "@upstash/context7-mcp"
    owner.goes_on()

    assert owner.page.locator("[name=owner]").input_value() == cast.owner.email
    owner.fills(deputy=cast.deputy.email)
    owner.chooses(team=str(cast.team.pk))
    owner.page.locator("[name=deputy]").press("Control+Enter")

    owner.sees("3. Bounded purpose")
    owner.fills(
        statement="Look up current library documentation for developers while they write code.",
        in_scope="Public library documentation",
        out_of_scope="Our own source code",
        ends_on=str(clock.today() + timedelta(days=365)),
    )
    owner.page.get_by_label("Public", exact=True).check()
    owner.goes_on()

    owner.sees("4. Tools")
    owner.fills(tools__0__name="resolve-library-id", tools__1__name="query-docs")
    owner.chooses(tools__0__confirmed_class="read", tools__1__confirmed_class="read")
    owner.goes_on()

    owner.sees("5. Downstream systems")
    owner.page.get_by_text("It is not registered yet").click()
    owner.fills(new_name="Documentation index", reason="Reads published documentation.", scopes="docs.read")
    owner.chooses(new_kind="saas", new_data_class="public")
    owner.presses("Add this system")
    owner.sees("Asked for so far", "Documentation index")
    owner.goes_on()

    # The publisher declares a secret input; a value is refused at its field, a reference is taken.
    owner.sees("6. Secret sources")
    assert owner.page.locator("[name=sources-0-name]").input_value() == "CONTEXT7_API_KEY"
    assert not owner.page.locator("[name=sources-0-reference]").is_visible()
    owner.chooses(sources__0__kind="vault", sources__0__credential_type="rotated")
    owner.fills(
        sources__0__reference=TOKEN_SHAPED,
        sources__0__rotation_interval_days="30",
        sources__0__revocable_by="Developer Experience on-call",
    )
    owner.page.get_by_label("Documentation index").check()
    owner.goes_on()
    owner.sees("This was not saved")
    assert TOKEN_SHAPED not in owner.page.content()
    assert owner.page.locator("[name=sources-0-revocable_by]").input_value() == "Developer Experience on-call"
    owner.fills(sources__0__reference="kv/data/context7")
    owner.goes_on()

    owner.sees("7. Revocation path", "Suggested from the secret sources")
    for field in owner.page.locator("[name$=-responsible]").all():
        field.fill("Developer Experience on-call")
    owner.goes_on()

    owner.sees("8. Check and submit", "Why this tier")
    owner.presses("Submit for review")
    owner.sees("it waits for an independent reviewer")


def opens_the_intake(reviewer, worker):
    """The worker opens the intake review; it appears in the reviewer's work."""
    worker.wait_for(lambda: WorkItem.objects.filter(reviewer=reviewer.user, state="open").exists(), "the intake review")
    reviewer.page.goto("/")
    reviewer.sees("Intake review")
    reviewer.page.locator("main").get_by_role("link", name="Review").first.click()
    reviewer.page.locator("#decision").wait_for()


def answers_the_intake(reviewer, value, reason):
    reviewer.page.locator(f"#decision [name=value][value={value}]").check()
    reviewer.page.locator("#decision [name=reason]").fill(reason)
    reviewer.page.locator("#decision [name=password]").fill(make.PASSWORD)
    reviewer.presses("Decide and sign")


def returns_it(reviewer):
    answers_the_intake(reviewer, "return", REASON)
    reviewer.page.wait_for_load_state("networkidle")


def corrects_it(owner):
    owner.page.goto("/")
    owner.sees("Returned", REASON)
    owner.page.locator("main").get_by_role("link", name="Correct").first.click()
    owner.sees(REASON)
    owner.page.get_by_role("navigation", name="Steps").get_by_role("link", name="Bounded purpose").click()
    owner.fills(in_scope="Public library documentation\nDocumentation of our public repositories")
    owner.presses("Save and go on")
    owner.page.get_by_role("navigation", name="Steps").get_by_role("link", name="Check and submit").click()
    owner.presses("Submit for review")
    owner.sees("it waits for an independent reviewer")


def activates_it(reviewer):
    answers_the_intake(reviewer, "certify", "Purpose, secret source and path are clear.")
    reviewer.page.wait_for_load_state("networkidle")


def launches_a_campaign(manager, worker):
    """Over all active servers with their relationships; the worker makes the items."""
    manager.page.goto("/reviews/templates/new/")
    manager.fills(name="Everything in service")
    manager.presses("Save and preview")
    manager.page.get_by_role("button", name="Launch").click()
    campaign = worker.wait_for(
        lambda: Campaign.objects.filter(kind="periodic", state="active").first(), "the campaign to be active"
    )
    assert campaign.items.count() == 4  # the server, its grant, its connection, the agent
    return campaign


def decides_and_signs(reviewer, campaign):
    page = reviewer.page
    page.goto("/")
    reviewer.sees("Everything in service")
    page.locator("main li", has_text="Everything in service").get_by_role("link", name="Review").click()
    for _ in range(campaign.items.count()):
        page.locator("#decision [name=value][value=certify]").check()
        page.locator("#decision [name=reason]").fill("Looked at the evidence; needed and bounded.")
        page.locator("#decision button[data-next]").click()
        page.wait_for_load_state("networkidle")
    page.goto(f"/reviews/{campaign.pk}/sign-off/")
    page.locator("[name=password]").fill(make.PASSWORD)
    page.get_by_role("button", name="Sign 4 decisions").click()
    page.wait_for_load_state("networkidle")
    assert Certificate.objects.filter(ended_at=None).count() == 4


def shows_certificates(reviewer, server):
    reviewer.page.goto("/reviews/certificates/")
    reviewer.sees(server.label, "Forecast agent", "Documentation index")
    reviewer.page.goto(f"/servers/{server.pk}/")
    reviewer.sees("Certified until")
    reviewer.page.locator("#panel-trust-server-panel svg text", has_text="Forecast agent").wait_for()


def answers_the_same_over_rest(cast, live_server, server):
    """A tool asks with a token who may reach what, and gets what the pages show."""
    token = make.token_for(cast.reviewer, "trust:read", "catalog:read")
    client = httpx.Client(base_url=f"{live_server.url}/api/v1/", headers={"Authorization": f"Bearer {token}"})
    grant, connection = Grant.objects.get(status="active"), Connection.objects.get(status="active")

    def asks(path, **query):
        response = client.get(path, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    found = asks("trust/relationships", server=str(server.pk), certified="true")["results"]
    assert {row["id"] for row in found} == {str(grant.pk), str(connection.pk)}

    system = connection.system
    assert names(asks("trust/reach", agent=str(cast.agent.pk))) >= {system.name, server.name, "query-docs"}
    assert names(asks("trust/access", system=str(system.pk))) >= {cast.agent.name, server.name}
    assert names(asks("trust/blast-radius", server=str(server.pk))) >= {cast.agent.name, system.name}

    row = asks(f"servers/{server.pk}")
    server.refresh_from_db()
    assert row["lifecycle"] == "active"
    assert row["certified_until"] is not None
    assert row["tier"] == server.tier


def names(answer):
    """Every string in an answer, wherever it stands."""
    if isinstance(answer, str):
        return {answer}
    inner = answer.values() if isinstance(answer, dict) else answer if isinstance(answer, list) else ()
    return {name for each in inner for name in names(each)}
