"""The official registry read API as clients use it: VS Code's walk, cursors, deletions, names in any escaping."""

import json
from base64 import urlsafe_b64encode
from datetime import timedelta
from urllib.parse import quote

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from bench.population import many_servers
from registry.catalog.models import Server
from registry.core import clock
from registry.core.errors import Malformed
from registry.discovery import offering, services
from registry.discovery.models import Publication
from registry.discovery.publications import OFFICIAL, meta_key
from tests import factories as make

pytestmark = pytest.mark.django_db
BY = make.SYSTEM_ACTOR
TOKEN = "a-token-of-the-network-1234567890"


@pytest.fixture(autouse=True)
def open_to_all(settings):
    settings.PUBLISH_ANONYMOUS = True


@pytest.fixture
def many(db):
    """230 published servers."""
    many_servers(230)
    Server.objects.update(certified_until=clock.now() + timedelta(days=30), release="1.0.0")
    services.sweep_publications(actor=BY)


def get(address: str, status: int = 200, **headers):
    answer = Client(headers=headers).get(address)
    assert answer.status_code == status, answer.content[:300]
    return answer


def names(page) -> list[str]:
    return [each["server"]["name"] for each in page["servers"]]


def walk(first: str, follow: str) -> list[str]:
    """Every name, page by page; the cursor is joined on unescaped."""
    page, found = get(first).json(), []
    for _ in range(100):
        found += names(page)
        if "nextCursor" not in page["metadata"]:
            return found
        page = get(f"{follow}&cursor={page['metadata']['nextCursor']}").json()
    raise AssertionError("the walk has no end")


# --- VS Code ---------------------------------------------------------------------------------------------


def accepted(page) -> list[dict]:
    """What VS Code's parser takes: `_meta` and `metadata` are objects, names, descriptions and versions are there."""
    assert isinstance(page["metadata"], dict)
    for each in page["servers"]:
        assert isinstance(each["_meta"], dict)
        assert each["_meta"][OFFICIAL]["status"] == "active"
        assert each["_meta"][OFFICIAL]["isLatest"] is True
        for field in ("name", "description", "version"):
            assert isinstance(each["server"][field], str)
            assert each["server"][field]
    return page["servers"]


def test_a_walk_as_vs_code_walks(many):
    base = "/v0.1/servers"
    assert len(accepted(get(f"{base}?limit=1").json())) == 1  # does this registry speak v0.1?

    found = walk(f"{base}?limit=50&version=latest", f"{base}?limit=50&version=latest")
    assert len(found) == len(set(found)) == 230
    assert found == sorted(found)

    # The search is sent with the first page only; the cursor remembers it.
    searched = walk(f"{base}?limit=50&version=latest&search={quote('SERVER-001')}", f"{base}?limit=50&version=latest")
    assert searched == [f"com.example/server-{number:05}" for number in range(100, 200)]

    name = quote(searched[7], safe="")
    assert "%2F" in name
    latest = get(f"{base}/{name}/versions/latest").json()
    assert latest["server"]["version"] == "1.0.0"
    assert latest["server"]["remotes"] == [{"type": "streamable-http", "url": latest["server"]["remotes"][0]["url"]}]
    assert get(f"{base}/{name}/versions/1.0.0").json() == latest
    assert [each["server"]["version"] for each in get(f"{base}/{name}/versions").json()["servers"]] == ["1.0.0"]
    assert get(f"{base}/{name}/versions/9.9.9", 404).json() == {"error": "Server version not found"}
    assert get(f"{base}/com.example%2Fnobody/versions/latest", 404).json() == {"error": "Server version not found"}
    assert get(f"{base}/com.example%2Fnobody/versions", 404).json() == {"error": "Server not found"}


def test_the_shape_of_an_entry():
    server = make.published_server(release="1.2.0", title="Stock")
    [entry] = get("/v0.1/servers").json()["servers"]
    row = Publication.objects.get()
    assert set(entry) == {"server", "_meta"}
    assert entry["server"] == row.body
    assert entry["_meta"][meta_key()] == row.facts
    official = entry["_meta"][OFFICIAL]
    assert set(official) == {"status", "statusChangedAt", "publishedAt", "updatedAt", "isLatest"}
    assert official["updatedAt"].endswith("Z")
    assert server.owner.name not in json.dumps(entry)


@pytest.mark.parametrize("version", ["1.0.0+2", "2026.8.31", "release/2024"])
def test_versions_and_names_in_any_escaping(version):
    server = make.published_server(name="io.github.acme/db_tool.x", release=version)
    ns, _, short = server.name.partition("/")
    once = quote(version, safe="")
    for name in (f"{ns}/{short}", f"{ns}%2F{short}", f"{ns}%2f{short}", f"{ns}%252F{short}"):
        for asked in (once, quote(once, safe=""), "latest"):
            answer = get(f"/v0.1/servers/{name}/versions/{asked}").json()
            assert (answer["server"]["name"], answer["server"]["version"]) == (server.name, version)
        assert get(f"/v0.1/servers/{name}/versions").json()["metadata"] == {"count": 1}


# --- Lists -----------------------------------------------------------------------------------------------


def test_pages_count_and_end_without_an_empty_one(many):
    first = get("/v0.1/servers").json()
    assert first["metadata"]["count"] == len(first["servers"]) == 30
    assert len(walk("/v0.1/servers?limit=46", "/v0.1/servers?limit=46")) == 230
    last = get("/v0.1/servers?limit=100&search=server-0010").json()
    assert last["metadata"] == {"count": 10}
    assert get("/v0.1/servers?search=nothing-of-the-kind").json() == {"servers": [], "metadata": {"count": 0}}


@pytest.mark.parametrize("search", ["%", "_", "\\", "server%", "é+&#=", "a b"])
def test_a_search_means_its_characters(search):
    make.published_server(name="com.example/plain-server")
    assert get(f"/v0.1/servers?search={quote(search)}").json()["servers"] == []


def test_underscores_are_found_as_such():
    make.published_server(name="com.example/a_b")
    make.published_server(name="com.example/axb")
    assert names(get("/v0.1/servers?search=A_B").json()) == ["com.example/a_b"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=101", "limit=-1", "limit=x", "limit=%D9%A3", "include_deleted=perhaps",
        "updated_since=yesterday",
        "updated_since=2026-01-01", "updated_since=2026-01-01T00:00:00", "updated_since=2026-13-41T00:00:00Z",
        "cursor=com.example/server:1.0.0", "cursor=%21%21", "cursor=W10", "cursor=bnVsbA", "search=%00",
        f"search={'x' * 300}",
        "updated_since=2026-01-01T00:00:00Z&include_deleted=false", "cursor=WyJhIiwiYiIseyJ4IjoxfV0",
    ],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_refused_in_its_own_words(query):
    answer = get(f"/v0.1/servers?{query}", 400)
    assert list(answer.json()) == ["error"]
    assert query.partition("=")[0] in answer.json()["error"]
    assert answer["Access-Control-Allow-Origin"] == "*"


def test_a_cursor_carries_its_question_and_refuses_another(many):
    question = offering.Question(search="ä+/=&#", version="latest", include_deleted=True)
    cursor = offering.cursor_after("com.example/x", "1.0.0+2", question)
    assert offering.read_cursor(cursor) == (question, ("com.example/x", "1.0.0+2"))
    assert quote(cursor, safe="") == cursor
    cursor = get("/v0.1/servers?limit=5&search=server-001").json()["metadata"]["nextCursor"]
    assert len(names(get(f"/v0.1/servers?limit=5&search=server-001&cursor={cursor}").json())) == 5
    assert "search" in get(f"/v0.1/servers?search=other&cursor={cursor}", 400).json()["error"]
    with pytest.raises(Malformed):
        offering.read_cursor(cursor[:-3])


def test_an_exact_version_is_a_filter():
    make.published_server(release="1.0.0")
    two = make.published_server(release="2.0.0")
    assert names(get("/v0.1/servers?version=2.0.0").json()) == [two.name]


# --- Deletions -------------------------------------------------------------------------------------------


def test_tombstones_are_told_to_those_who_ask():
    kept, gone = make.published_server(), make.published_server(release="3.0.0")
    before = clock.now()
    make.certify(gone, days=0)
    assert names(get("/v0.1/servers").json()) == [kept.name]
    assert sorted(names(get("/v0.1/servers?include_deleted=true").json())) == sorted([kept.name, gone.name])
    since = quote(before.isoformat())
    [entry] = get(f"/v0.1/servers?updated_since={since}").json()["servers"]
    assert entry["server"]["name"] == gone.name
    official = entry["_meta"][OFFICIAL]
    assert (official["status"], official["isLatest"]) == ("deleted", True)
    assert official["statusMessage"].startswith("Not certified")
    assert meta_key() not in entry["_meta"]
    # An unescaped plus arrives as a blank.
    assert len(get(f"/v0.1/servers?updated_since={before:%Y-%m-%dT%H:%M:%S}+00:00").json()["servers"]) >= 1
    # Strictly after.
    exactly = quote(Publication.objects.get(server=gone).updated_at.isoformat())
    assert get(f"/v0.1/servers?updated_since={exactly}").json()["servers"] == []

    path = f"/v0.1/servers/{quote(gone.name, safe='')}/versions"
    get(f"{path}/latest", 404)
    get(f"{path}/3.0.0", 404)
    get(path, 404)
    assert get(f"{path}/latest?include_deleted=true").json()["_meta"][OFFICIAL]["status"] == "deleted"
    assert get(f"{path}?include_deleted=true").json()["metadata"]["count"] == 1
    get(f"{path}?include_deleted=perhaps", 400)


def test_what_ended_this_second_is_not_offered_although_nobody_swept():
    server = make.published_server(days=1)
    path = f"/v0.1/servers/{quote(server.name, safe='')}/versions/latest"
    with clock.at(clock.now() + timedelta(days=2)):
        assert get("/v0.1/servers").json()["servers"] == []
        get(path, 404)
        [entry] = get("/v0.1/servers?include_deleted=1").json()["servers"]
        assert entry["_meta"][OFFICIAL]["status"] == "deleted"


def test_versions_are_listed_newest_first():
    server = make.published_server(release="1.0.0")
    for release in ("1.1.0", "0.9.0"):
        from registry.catalog.services import update_identity

        update_identity(actor=make.acting(server.owner), server=server, release=release)
        server.refresh_from_db()
        make.certify(server)
    found = get(f"/v0.1/servers/{quote(server.name, safe='')}/versions?include_deleted=true").json()["servers"]
    assert [each["server"]["version"] for each in found] == ["0.9.0", "1.1.0", "1.0.0"]


# --- HTTP ------------------------------------------------------------------------------------------------


def test_scripts_of_any_origin_may_read():
    server = make.published_server()
    path = f"/v0.1/servers/{quote(server.name, safe='')}/versions"
    for address in ("/v0.1/servers", path, f"{path}/latest", "/v0.1/ping", "/v0.1/servers?limit=0"):
        for method in ("get", "options", "post"):
            answer = getattr(Client(enforce_csrf_checks=True), method)(address)
            assert answer["Access-Control-Allow-Origin"] == "*"
            assert answer["Access-Control-Allow-Methods"] == "GET, OPTIONS"
            assert answer["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
    assert Client().options(path).status_code == 204
    assert Client().post("/v0.1/servers").status_code == 405
    assert Client().post("/v0.1/publish").json()["error"]
    assert get("/v0.1/ping", 404).json() == {"error": "Not found"}


def test_an_answer_that_did_not_change_is_not_sent_again():
    server = make.published_server()
    first = get("/v0.1/servers")
    assert first["Cache-Control"] == "public, max-age=60"
    for known in (first["ETag"], f"W/{first['ETag']}", f'"x", {first["ETag"]}'):
        same = get("/v0.1/servers", 304, If_None_Match=known)
        assert same.content == b""
    make.certify(server, days=7)
    assert get("/v0.1/servers", 200, If_None_Match=first["ETag"])["ETag"] != first["ETag"]


def test_a_head_request_has_no_body():
    make.published_server()
    answer = Client().head("/v0.1/servers")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_page_takes_one_statement(many):
    for address in ("/v0.1/servers?limit=100", "/v0.1/servers?limit=5&search=server-00&version=latest"):
        with CaptureQueriesContext(connection) as asked:
            get(address)
        assert len(asked) == 1, [each["sql"][:80] for each in asked]


# --- Doors -----------------------------------------------------------------------------------------------

READS = ("/v0.1/servers", "/exports/managed-mcp.json")


@pytest.mark.parametrize("address", READS)
def test_where_the_door_is_closed_members_and_tokens_read(address, settings, web, api):
    settings.PUBLISH_ANONYMOUS = False
    make.published_server()
    member = make.person()
    assert web(member).get(address).status_code == 200
    assert web(make.outsider()).get(address).status_code == 403
    assert api(member, "discovery:read").get(address).status_code == 200
    assert api(member, "catalog:read").get(address).status_code == 403
    answer = web(member).get(address)
    assert answer["Cache-Control"] == "private, max-age=60"
    assert "Authorization" in answer["Vary"]


def test_strangers_are_told_to_sign_in(settings):
    settings.PUBLISH_ANONYMOUS = False
    answer = get("/v0.1/servers", 401)
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert list(answer.json()) == ["error"]
    get("/v0.1/servers", 401, Authorization="Bearer nonsense")


@pytest.mark.parametrize("address", READS)
def test_an_address_with_the_token_lets_in_and_no_other(address, settings):
    settings.PUBLISH_ANONYMOUS = False
    settings.PUBLISH_PATH_TOKEN = TOKEN
    make.published_server()
    assert get(f"/r/{TOKEN}{address}")["Cache-Control"] == "private, max-age=60"
    get(f"/r/{TOKEN}x{address}", 404)
    settings.PUBLISH_PATH_TOKEN = ""
    get(f"/r/{TOKEN}{address}", 404)
    get(f"/r/-{address}", 404)


def test_confidential_servers_never_come_through_any_door(settings):
    settings.PUBLISH_PATH_TOKEN = TOKEN
    server = make.published_server(name="com.example/merger", title="Merger")
    Server.objects.filter(pk=server.pk).update(confidential=True)
    services.sweep_publications(actor=BY)
    for start in ("", f"/r/{TOKEN}"):
        page = get(f"{start}/v0.1/servers?include_deleted=true").content.decode()
        assert "Merger" not in page
        assert get(f"{start}/v0.1/servers").json()["servers"] == []
        for export in ("managed-mcp.json", "copilot-managed-settings.json"):
            assert "merger" not in get(f"{start}/exports/{export}").content.decode()


# --- Odd questions ---------------------------------------------------------------------------------------


def _cursor(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize("address", [
    "/v0.1/servers?cursor=" + _cursor("[" * 5000),
    "/v0.1/servers?cursor=" + _cursor(r'["\ud800","1",{}]'),
    "/v0.1/servers?cursor=" + _cursor(r'["a","1",{"search":"\ud800"}]'),
    "/v0.1/servers?cursor=" + _cursor(r'["a","\u0000",{}]'),
    "/v0.1/servers?cursor=" + _cursor('["a","1",{"include_deleted":[]}]'),
    "/v0.1/servers?updated_since=9999-12-31T23:59:59-23:59",
    "/v0.1/servers?updated_since=0001-01-01T00:00:00%2B23:59",
    "/v0.1/servers?updated_since=2026-13-01T00:00:00Z",
    "/v0.1/servers?search=%00",
    "/v0.1/servers/a%2Fb%00/versions",
    "/v0.1/servers/a%2Fb%2500/versions",
    "/v0.1/servers/a%2Fb%00/versions/latest",
    "/v0.1/servers/a%2Fb/versions/1%00",
    "/v0.1/servers/a%2Fb/versions/1%2500",
    "/v0.1/servers/a%2Fb/versions/" + "1" * 300,
])  # fmt: skip
def test_whatever_is_asked_oddly_is_refused_in_json_and_for_every_origin(address):
    client = Client(raise_request_exception=False)
    answer = client.get(address)
    assert answer.status_code == (404 if "b%2500" in address else 400), answer.content[:200]
    assert answer["Access-Control-Allow-Origin"] == "*" and list(answer.json()) == ["error"]
