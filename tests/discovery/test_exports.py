"""Allow and deny lists: valid in each client's own format, exact, and free of what may not be told."""

import json
import re
import tomllib
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from registry.catalog import services as catalog
from registry.catalog.models import Endpoint, Server
from registry.core import clock
from registry.discovery import exports, services
from registry.discovery.exports import EXPORTS
from registry.discovery.publications import assign_client_keys
from tests import factories as make

pytestmark = pytest.mark.django_db
BY = make.SYSTEM_ACTOR


@pytest.fixture(autouse=True)
def open_to_all(settings):
    settings.PUBLISH_ANONYMOUS = True
    settings.BASE_URL = "https://steward.example.org"


def got(name: str):
    answer = Client().get(f"/exports/{name}")
    assert answer.status_code == 200, answer.content
    text = answer.content.decode()
    return tomllib.loads(text) if name.endswith(".toml") else json.loads(text)


def remote(url: str, **facts):
    return {"transport": "streamable-http", "url": url, **facts}


def package(registry: str, identifier: str, version: str = "1.2.3", **facts):
    return {
        "transport": "stdio", "package_registry": registry, "package_identifier": identifier,
        "package_version": version, **facts,
    }  # fmt: skip


ENV = [{"name": "DB_URL", "placed_in": "environment", "required": True, "secret": True}]
HEADER = [{"name": "X-Api-Key", "placed_in": "header", "required": True, "secret": True}]


@pytest.fixture
def estate(db):
    def published(name: str, *endpoints) -> Server:
        return make.published_server(name=f"com.example/{name}", endpoints=list(endpoints))

    published("docs", remote("https://docs.example.test/mcp", inputs=HEADER))
    published("npm", package("npm", "@acme/mcp", inputs=ENV))
    published("pypi", package("pypi", "acme-mcp"))
    published("image", package("oci", "ghcr.io/acme/mcp", "2.0", inputs=ENV))
    published("tenant", remote("https://{tenant}.example.test/mcp"))
    published("starred", remote("https://star.example.test/*"))
    make.active_server(name="com.example/uncertified", endpoints=[remote("https://uncertified.example.test/mcp")])


ALLOWED = [
    {"serverUrl": "https://docs.example.test/mcp"},
    {"serverCommand": ["docker", "run", "-i", "--rm", "-e", "DB_URL", "ghcr.io/acme/mcp:2.0"]},
    {"serverCommand": ["docker", "run", "-i", "--rm", "ghcr.io/acme/mcp:2.0"]},
    {"serverCommand": ["npx", "-y", "@acme/mcp@1.2.3"]},
    {"serverCommand": ["npx", "@acme/mcp@1.2.3"]},
    {"serverCommand": ["uvx", "acme-mcp@1.2.3"]},
    {"serverCommand": ["uvx", "acme-mcp==1.2.3"]},
]


def test_allow_lists_name_addresses_and_command_lines_only(estate):
    assert got("copilot-managed-settings.json") == {"allowedMcpServers": ALLOWED, "deniedMcpServers": []}
    assert got("claude-code-managed-settings.json") == {
        "allowManagedMcpServersOnly": True, "allowedMcpServers": ALLOWED, "deniedMcpServers": [],
    }  # fmt: skip
    assert got("vscode-settings.json") == {
        "chat.mcp.access": "registry",
        "chat.mcp.gallery.serviceUrl": "https://steward.example.org",
        "chat.mcp.allowedServers": ALLOWED,
        "chat.mcp.deniedServers": [],
    }
    for matcher in ALLOWED:
        assert len(matcher) == 1


def test_a_fixed_set_brings_no_credentials(estate):
    assert got("managed-mcp.json") == {
        "mcpServers": {
            "docs": {
                "type": "http", "url": "https://docs.example.test/mcp", "headers": {"X-Api-Key": "${X_API_KEY}"},
            },
            "image": {
                "type": "stdio", "command": "docker",
                "args": ["run", "-i", "--rm", "-e", "DB_URL", "ghcr.io/acme/mcp:2.0"], "env": {"DB_URL": "${DB_URL}"},
            },
            "npm": {
                "type": "stdio", "command": "npx", "args": ["-y", "@acme/mcp@1.2.3"], "env": {"DB_URL": "${DB_URL}"},
            },
            "pypi": {"type": "stdio", "command": "uvx", "args": ["acme-mcp@1.2.3"]},
        }
    }  # fmt: skip


def test_codex_and_gemini_get_remote_servers(estate):
    assert got("codex-requirements.toml") == {
        "mcp_servers": {"docs": {"identity": {"url": "https://docs.example.test/mcp"}}}
    }
    assert got("gemini-mcp-servers.json") == {
        "mcpServers": {
            "docs": {
                "url": "https://docs.example.test/mcp", "type": "http", "trust": False,
                "includeTools": ["export", "query"],
            }
        }
    }  # fmt: skip


def test_nothing_approved_blocks_everything_instead_of_allowing_it(db):
    assert got("copilot-managed-settings.json")["allowedMcpServers"] == []
    assert got("claude-code-managed-settings.json")["allowedMcpServers"] == []
    assert got("codex-requirements.toml") == {"mcp_servers": {}}
    assert got("managed-mcp.json") == {"mcpServers": {}}


def test_two_servers_with_one_short_name_keep_apart(db):
    for namespace in ("com.a", "com.b"):
        make.published_server(name=f"{namespace}/docs.x", endpoints=[remote(f"https://{namespace}.test/mcp")])
    assert set(got("managed-mcp.json")["mcpServers"]) == {"docs-x", "com-b-docs-x"}
    assert set(got("codex-requirements.toml")["mcp_servers"]) == {"docs-x", "com-b-docs-x"}


@pytest.mark.parametrize(
    ("change", "denied"),
    [
        ({"lifecycle": "suspended"}, True),
        ({"lifecycle": "retired"}, True),
        ({"quarantined_at": "now"}, True),
        ({"certified_until": None}, False),
        ({"lifecycle": "suspended", "confidential": True}, False),
        ({"lifecycle": "retired", "activated_at": None}, False),
    ],
)
def test_denied_is_what_the_registry_itself_took_out_of_service(change, denied):
    server = make.published_server(endpoints=[remote("https://bad.example.test/mcp")])
    change = {name: clock.now() if value == "now" else value for name, value in change.items()}
    Server.objects.filter(pk=server.pk).update(**change)
    services.sweep_publications(actor=BY)
    lists = got("copilot-managed-settings.json")
    assert lists["allowedMcpServers"] == []
    assert lists["deniedMcpServers"] == ([{"serverUrl": "https://bad.example.test/mcp"}] if denied else [])


def test_an_approved_address_is_not_denied_for_the_sake_of_a_retired_twin(db):
    twin = make.active_server(endpoints=[remote("https://same.example.test/mcp")])
    make.published_server(endpoints=[remote("https://same.example.test/mcp")])
    catalog.retire_server(actor=make.acting(twin.owner), server=twin, reason="Registered twice.")
    lists = got("copilot-managed-settings.json")
    assert lists == {"allowedMcpServers": [{"serverUrl": "https://same.example.test/mcp"}], "deniedMcpServers": []}


def test_what_ended_this_second_is_on_no_list_although_nobody_swept(estate):
    with clock.at(clock.now() + timedelta(days=365)):
        assert got("copilot-managed-settings.json")["allowedMcpServers"] == []


@pytest.mark.parametrize(
    ("facts", "lines"),
    [
        (package("npm", "x", ""), []),
        (package("oci", "ghcr.io/a/b:3", ""), [["docker", "run", "-i", "--rm", "ghcr.io/a/b:3"]]),
        (package("oci", "localhost:5000/a", ""), []),
        (package("oci", "a/b@sha256:00", ""), [["docker", "run", "-i", "--rm", "a/b@sha256:00"]]),
        (package("nuget", "Acme.Mcp"), [["dnx", "Acme.Mcp@1.2.3", "--yes"], ["dnx", "Acme.Mcp@1.2.3"]]),
        (package("mcpb", "https://x.test/a.mcpb"), []),
    ],
)
def test_a_command_line_names_one_release_or_there_is_none(facts, lines):
    assert exports.command_lines(Endpoint(**facts)) == lines


def test_every_export_has_an_entity_tag_and_changes_only_with_its_content(estate):
    for name, export in EXPORTS.items():
        first = Client().get(f"/exports/{name}")
        assert first["Content-Type"] == export.content_type
        assert Client(headers={"If-None-Match": first["ETag"]}).get(f"/exports/{name}").status_code == 304
        assert Client().get(f"/exports/{name}")["ETag"] == first["ETag"]
    assert Client().get("/exports/nothing.json").status_code == 404
    assert Client().post("/exports/managed-mcp.json").status_code == 405


def test_the_address_with_a_token_leads_clients_there(estate, settings):
    settings.PUBLISH_PATH_TOKEN = token = "a-token-of-the-network-1234567890"
    settings.PUBLISH_ANONYMOUS = False
    told = json.loads(Client().get(f"/r/{token}/exports/vscode-settings.json").content)
    assert told["chat.mcp.gallery.serviceUrl"] == f"https://steward.example.org/r/{token}"


def test_lists_take_as_many_statements_whatever_their_length(estate):
    def statements() -> int:
        with CaptureQueriesContext(connection) as asked:
            got("copilot-managed-settings.json")
        return len(asked)

    before = statements()
    for _ in range(3):
        make.published_server()
    assert statements() == before <= 5


# --- Pages -----------------------------------------------------------------------------------------------


def test_the_page_explains_with_the_readers_own_address(estate, web):
    shown = web(make.person()).get("/publishing/").content.decode()
    assert "https://steward.example.org/exports/managed-mcp.json" in shown
    assert "https://steward.example.org/v0.1/servers?limit=3" in shown
    assert "Clients cannot read this yet" not in shown
    assert web(make.outsider()).get("/publishing/").status_code == 403


def test_the_page_says_when_clients_cannot_read_and_keeps_the_token_from_most(estate, web, settings):
    settings.PUBLISH_ANONYMOUS = False
    assert "Clients cannot read this yet" in web(make.person()).get("/publishing/").content.decode()
    settings.PUBLISH_PATH_TOKEN = token = "a-token-of-the-network-1234567890"
    assert token not in web(make.person()).get("/publishing/").content.decode()
    assert f"/r/{token}/exports/" in web(make.person("security")).get("/publishing/").content.decode()


def test_every_server_is_listed_with_what_is_told_of_it_or_why_nothing_is(estate, web):
    gone = make.published_server(name="com.example/gone")
    make.certify(gone, days=0)
    secret = make.published_server(name="com.example/hidden")
    Server.objects.filter(pk=secret.pk).update(confidential=True)
    services.sweep_publications(actor=BY)
    member, security = web(make.person()), web(make.person("security"))
    shown = member.get("/publishing/servers/").content.decode()
    assert "com.example/docs" in shown
    assert "Registry only" in shown  # the one with blanks in its address
    assert "com.example/uncertified" not in shown
    missing = member.get("/publishing/servers/?show=not").content.decode()
    assert "com.example/uncertified" in missing
    assert "Not certified" in missing
    assert "com.example/hidden" not in missing
    assert "Confidential:" in security.get("/publishing/servers/?show=not").content.decode()
    tombs = member.get("/publishing/servers/?show=tombstones").content.decode()
    assert "com.example/gone" in tombs
    assert "com.example/hidden" not in tombs
    assert "com.example/docs" not in member.get("/publishing/servers/?q=pypi").content.decode()
    assert member.get("/publishing/servers/?show=everything").status_code == 404


def test_lists_of_servers_ask_as_often_whatever_their_length(web):
    member = web(make.person())
    addresses = [f"/publishing/servers/?show={show}" for show in ("published", "not", "tombstones")]

    def statements() -> list[int]:
        counts = []
        for address in addresses:
            with CaptureQueriesContext(connection) as asked:
                assert member.get(address).status_code == 200
            counts.append(len(asked))
        return counts

    def more() -> None:
        make.published_server()
        make.active_server()
        make.certify(make.published_server(), days=0)

    more()
    member.get("/publishing/")
    few = statements()
    more()
    more()
    assert statements() == few
    assert max(few) <= 14


def test_the_panel_tells_what_is_published_and_what_others_say(web, api):
    from django.urls import reverse

    from registry.discovery.models import RegistryEntry

    server = make.published_server(name="com.example/mine", release="1.2.0")
    source = services.follow_registry(
        actor=make.acting(make.person("security")), name="Partner", base_url="https://partner.example.test"
    )
    RegistryEntry.objects.create(
        source=source, name=server.name, version="9.0.0", status="deleted", is_latest=True, seen_at=clock.now()
    )
    address = reverse("discovery:published_panel", args=[server.pk])
    shown = web(make.person()).get(address).content.decode()
    assert "1.2.0" in shown
    assert "Deleted there" in shown
    Server.objects.filter(pk=server.pk).update(confidential=True)
    assert web(make.person()).get(address).status_code == 404
    listed = api(make.person()).get("/api/v1/publications").json()["results"]
    assert listed == []
    [told] = api(make.person("security")).get("/api/v1/publications?status=active").json()["results"]
    assert (told["name"], told["version"]) == ("com.example/mine", "1.2.0")


# --- Keys ------------------------------------------------------------------------------------------------


@examples(max_examples=80, deadline=None)
@given(
    st.lists(
        st.text("ab-/.A", min_size=3, max_size=7).filter(lambda name: re.fullmatch(r"[^/]+/[^/]+", name)), unique=True
    )
)
def test_every_name_has_a_key_of_its_own(names):
    keys = assign_client_keys(names, {"a", "b"})
    assert len({key.lower() for key in keys.values()} | {"a", "b"}) == len(names) + 2
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", key) for key in keys.values())


@pytest.mark.parametrize("names", [["a/b-c", "z/b-c", "x/a-b-c"], ["com.a/b", "com-a/b", "com/a-b"], ["x/A", "y/a"]])
def test_names_that_look_alike_break_no_list(names):
    for number, name in enumerate(names):
        make.published_server(name=name, endpoints=[remote(f"https://h{number}.example.test/mcp")])
    services.sweep_publications(actor=BY)
    for listed in (got("managed-mcp.json")["mcpServers"], got("gemini-mcp-servers.json")["mcpServers"],
                   got("codex-requirements.toml")["mcp_servers"]):  # fmt: skip
        assert len(listed) == len(names)


def test_a_key_once_given_stays_and_is_given_to_nobody_else():
    def keys() -> dict[str, str]:
        services.sweep_publications(actor=BY)
        return {each["url"]: key for key, each in got("gemini-mcp-servers.json")["mcpServers"].items()}

    first, second = "https://first.example.test/mcp", "https://second.example.test/mcp"
    server = make.published_server(name="com.first/mcp", endpoints=[remote(first)])
    assert keys() == {first: "mcp"}
    make.published_server(name="com.second/mcp", endpoints=[remote(second)])
    assert keys() == {first: "mcp", second: "com-second-mcp"}
    Server.objects.filter(pk=server.pk).update(certified_until=None)
    assert keys() == {second: "com-second-mcp"}
    make.published_server(name="com.third/mcp", endpoints=[remote("https://third.example.test/mcp")])
    make.certify(Server.objects.get(pk=server.pk))
    assert keys()[first] == "mcp" and len(keys()) == 3
