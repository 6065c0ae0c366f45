"""One look at a server over HTTP: which revision it speaks, what it lists, how it is guarded, how it fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import repeat

import pytest

from registry.discovery.probing import listing as listings
from registry.discovery.probing import look, probe
from registry.discovery.probing.posture import CHECKS
from tests.discovery.fake_servers import (
    LEGACY,
    MODERN,
    PATH,
    Fake,
    Protected,
    as_events,
    behind_http,
    error,
    on_a_stream_that_stays_open,
    result,
    serving,
    sse_only,
    tool,
)
from tests.discovery.public_servers import ROOT
from tests.listeners import Told, certificate, http, raw

pytestmark = pytest.mark.usefixtures("local")


@pytest.fixture
def local(settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8:*"]


def looked_at(answer, **options):
    with serving(answer, **options) as listener:
        seen = probe(listener.url(PATH))
    return seen, listener


def posture(seen):
    return {each["check"]: each["outcome"] for each in seen.posture}


def names(seen):
    return [each["name"] for each in seen.listing.tools]


# --- Eras -----------------------------------------------------------------------------------------------


def test_a_server_of_2026_is_asked_without_a_session():
    seen, listener = looked_at(Fake())
    assert (seen.outcome, seen.era, seen.transport) == ("listed", MODERN, "streamable-http")
    assert names(seen) == ["search", "delete_branch"]
    assert [each["name"] for each in seen.listing.prompts] == ["greet"]
    assert seen.listing.instructions == "Be kind."
    assert seen.server_info == {"name": "fake", "version": "1"}
    assert [asked.json["method"] for asked in listener.asked] == ["server/discover", "tools/list", "prompts/list"]
    assert seen.size > 100 and seen.pages == 2


def test_a_server_of_before_2026_is_greeted_and_its_session_given_back():
    fake = Fake(modern=False)
    seen, listener = looked_at(fake)
    assert (seen.outcome, seen.era, seen.server_info["name"]) == ("listed", LEGACY, "old")
    assert names(seen) == ["search", "delete_branch"]
    assert fake.sessions == set()
    assert [asked.method for asked in listener.asked] == ["POST", "POST", "POST", "POST", "DELETE"]


def test_every_listing_declares_the_same_capabilities():
    for fake in (Fake(), Fake(modern=False)):
        seen, listener = looked_at(fake)
        assert seen.capabilities == {}
        declared = [
            asked.json["params"].get("capabilities", asked.json["params"].get("_meta", {}))
            for asked in listener.asked
            if asked.body and asked.json["method"] in ("initialize", "server/discover")
        ]
        assert all(each.get("io.modelcontextprotocol/clientCapabilities", {}) == {} for each in declared)


@pytest.mark.parametrize("modern", [True, False])
def test_answers_may_come_as_event_streams(modern):
    fake = Fake(modern=modern)

    def answer(asked):
        told = fake(asked)
        return as_events(told) if isinstance(told.body, dict) else told

    assert names(looked_at(answer)[0]) == ["search", "delete_branch"]


def test_fields_nobody_knows_are_kept_for_the_fingerprint():
    odd = tool("search", xUnknown={"z": 1, "a": [1.5, None]}, annotations={"readOnlyHint": True, "later": 1})
    assert looked_at(Fake([odd]))[0].listing.tools[0] == odd


def test_a_version_that_is_not_supported_leads_to_the_handshake():
    """The error is of 2026, but only older revisions are named."""
    legacy = Fake(modern=False)

    def answer(asked):
        if asked.body and asked.json["method"] == "server/discover":
            return error(asked, -32022, 400, {"supported": [LEGACY]})
        return legacy(asked)

    assert looked_at(answer)[0].era == LEGACY


def test_a_server_that_names_our_version_in_its_error_is_asked_once_more():
    fake, tries = Fake(), []

    def answer(asked):
        tries.append(asked.json["method"])
        if len(tries) == 1:
            return error(asked, -32022, 400, {"supported": [MODERN]})
        return fake(asked)

    assert looked_at(answer)[0].era == MODERN
    assert tries[:2] == ["server/discover", "server/discover"]


def test_a_server_that_never_agrees_is_left():
    seen, listener = looked_at(lambda asked: error(asked, -32022, 400, {"supported": [MODERN]}))
    assert seen.outcome in ("failed", "not_mcp")
    assert len(listener.asked) < 6


def test_discover_without_a_modern_version_is_an_older_server():
    legacy = Fake(modern=False)

    def answer(asked):
        if asked.body and asked.json["method"] == "server/discover":
            return result(asked, {"supportedVersions": [LEGACY], "capabilities": {}})
        return legacy(asked)

    assert looked_at(answer)[0].era == LEGACY


@pytest.mark.parametrize("modern", [True, False])
def test_a_stream_that_stays_open_is_read_as_it_comes(modern):
    fake = Fake(modern=modern)

    def answer(asked):
        told = fake(asked)
        return on_a_stream_that_stays_open(told) if isinstance(told.body, dict) else told

    assert names(looked_at(answer)[0]) == ["search", "delete_branch"]


def test_redirects_that_lead_nowhere_have_their_own_words():
    for location, words in ((PATH, "again and again"), ("file:///etc/passwd", "no web address")):
        seen, _listener = looked_at(lambda asked, to=location: Told(307, headers={"Location": to}))
        assert seen.outcome == "failed" and words in seen.detail


def test_only_sse_is_recognised_and_said_to_be_deprecated():
    seen, _listener = looked_at(sse_only)  # Its stream never ends; the first event says it all.
    assert (seen.outcome, seen.era, seen.transport) == ("sse_only", "2024-11-05", "sse")
    assert posture(seen)["transport"] == "fail"


def test_an_unknown_revision_is_not_guessed():
    def answer(asked):
        if asked.body and asked.json.get("method") == "initialize":
            return result(asked, {"protocolVersion": "2031-01-01", "capabilities": {}})
        return Told(400)

    assert looked_at(answer)[0].outcome == "failed"


# --- Lists ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modern", [True, False])
def test_pages_are_joined_in_order(modern):
    pages = [[tool(f"tool-{page}-{n}") for n in range(3)] for page in range(4)]
    seen, _listener = looked_at(Fake(*pages, modern=modern))
    assert names(seen) == [f"tool-{page}-{n}" for page in range(4) for n in range(3)]


def test_cursors_that_go_round_are_left():
    fake = Fake()

    def answer(asked):
        if asked.json["method"] != "tools/list":
            return fake(asked)
        following = {"a": "b", "b": "a"}.get(asked.json["params"].get("cursor"), "a")
        return result(asked, {"tools": [tool("same")], "nextCursor": following})

    seen, listener = looked_at(answer)
    assert (seen.outcome, seen.listing) == ("failed", None)
    assert "circle" in seen.detail
    assert len(listener.asked) == 4


def test_pages_without_end_are_left(monkeypatch):
    monkeypatch.setattr(listings, "MAX_PAGES", 5)
    seen, _listener = looked_at(Fake(*[[tool(f"t{n}")] for n in range(9)]))
    assert (seen.outcome, seen.listing) == ("too_large", None)


def test_a_huge_list_is_not_taken_in():
    seen, _listener = looked_at(Fake([tool("big", description="x" * 6_000_000)]))
    assert (seen.outcome, seen.listing) == ("too_large", None)
    many, _listener = looked_at(Fake([tool(f"t{n}") for n in range(6000)]))
    assert many.outcome == "too_large"


def test_the_size_of_all_pages_together_counts():
    pages = [[tool(f"big-{n}", description="x" * 1_500_000)] for n in range(5)]
    assert looked_at(Fake(*pages))[0].outcome == "too_large"


def test_half_a_list_is_no_list():
    """A failing second page or prompt list would otherwise look like a server that dropped them."""
    for failing in ("tools/list", "prompts/list"):
        fake = Fake([tool("a")], [tool("b")])

        def answer(asked, fake=fake, failing=failing):
            if asked.json["method"] == failing and (failing != "tools/list" or "cursor" in asked.json["params"]):
                return error(asked, -32603)
            return fake(asked)

        seen, _listener = looked_at(answer)
        assert (seen.outcome, seen.listing) == ("failed", None)
        assert f"{failing} with error -32603" in seen.detail


@pytest.mark.parametrize(
    "listed",
    [None, {}, "tools", [1], [{}], [{"name": 1}], [{"name": ""}]],
)
def test_what_is_no_list_of_tools_is_not_kept(listed):
    fake = Fake()

    def answer(asked):
        return result(asked, {"tools": listed}) if asked.json["method"] == "tools/list" else fake(asked)

    assert looked_at(answer)[0].outcome == "failed"


def test_a_server_without_tools_lists_none():
    fake = Fake()

    def answer(asked):
        return error(asked, -32601) if asked.json["method"] == "tools/list" else fake(asked)

    seen, _listener = looked_at(answer)
    assert (seen.outcome, list(seen.listing.tools)) == ("listed", [])


def test_what_no_database_can_keep_is_refused():
    assert looked_at(Fake([tool("nul", title="a\x00b")]))[0].outcome == "failed"
    fake = Fake()

    def answer(asked):
        told = fake(asked)
        if asked.json["method"] == "tools/list":
            text = f'{{"jsonrpc":"2.0","id":{asked.json["id"]},"result":{{"tools":[{{"name":"a","x":NaN}}]}}}}'
            return Told(body=text, headers={"Content-Type": "application/json"})
        return told

    assert looked_at(answer)[0].outcome == "failed"


# --- What is no MCP server ------------------------------------------------------------------------------


def test_a_web_page_is_not_mcp():
    seen, _listener = looked_at(lambda _asked: Told(body="<h1>Hello</h1>", headers={"Content-Type": "text/html"}))
    assert (seen.outcome, seen.detail) == ("not_mcp", "It answers 200, and not as an MCP server does.")


@pytest.mark.parametrize("status", [404, 405, 403])
def test_nothing_there_is_not_mcp(status):
    assert looked_at(lambda _asked: Told(status))[0].outcome == "not_mcp"


def test_a_broken_server_failed():
    assert looked_at(lambda _asked: Told(502))[0].outcome == "failed"


def test_a_hanging_server_is_left_in_time():
    def hang(connection):
        connection.recv(65536)
        time.sleep(60)

    with raw(hang) as port:
        seen = probe(f"http://127.0.0.1:{port}/mcp", lasting=1)
    assert seen.outcome == "timed_out"


def test_a_stream_that_never_answers_is_left_in_time():
    def answer(_asked):
        return Told(
            body=(time.sleep(0.05) or b": still here\n\n" for _ in repeat(1)),
            headers={"Content-Type": "text/event-stream"},
        )

    with http(answer) as listener:
        seen = probe(listener.url(PATH), lasting=1)
    assert seen.outcome == "timed_out"


def test_a_dead_address_is_unreachable_and_a_closed_one_refused(settings):
    with raw(lambda connection: connection.close()) as port:
        assert probe(f"http://127.0.0.1:{port}/mcp").outcome == "unreachable"
    settings.OUTBOUND_ALLOW = []
    for url in ("http://127.0.0.1:9/mcp", "https://10.0.0.1/mcp", "https://{tenant}.example/mcp", "file:///etc/passwd"):
        seen = probe(url)
        assert (seen.outcome, seen.posture) == ("refused", ()), url


def test_a_redirect_to_another_origin_is_told_and_not_followed():
    with http(Fake()) as other:
        seen, _listener = looked_at(lambda _asked: Told(307, headers={"Location": other.url(PATH)}))
        assert other.connections == 0
    assert (seen.outcome, posture(seen)["redirect"]) == ("failed", "fail")


# --- Posture --------------------------------------------------------------------------------------------


def test_an_open_server_is_said_to_be_open():
    seen, _listener = looked_at(Fake())
    assert posture(seen) == {"https": "fail", "transport": "pass", "redirect": "pass", "asks_for_token": "warn"}


def test_a_well_guarded_server_passes_everything():
    seen, listener = looked_at(Protected())
    assert (seen.outcome, seen.listing) == ("protected", None)
    checks = posture(seen)
    assert checks.pop("https") == "fail"
    assert checks == dict.fromkeys(
        set(CHECKS) - {"https", "certificate"},
        "pass",
    )
    tokens = [asked for asked in listener.asked if asked.headers["Authorization"]]
    assert [(asked.path, asked.json["method"]) for asked in tokens] == [(PATH, "tools/list")]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"challenge": "Basic realm=x"}, {"challenge": "fail"}),
        ({"challenge": "Bearer"}, {"challenge": "warn", "resource_metadata": "pass"}),
        ({"where": "/.well-known/oauth-protected-resource"}, {"resource_metadata": "warn", "resource": "pass"}),
        ({"where": "/nowhere"}, {"resource_metadata": "fail"}),
        ({"resource": {"authorization_servers": []}}, {"resource_metadata": "fail"}),
        ({"resource": {"resource": "https://other.example/mcp"}}, {"resource": "fail"}),
        ({"resource": {"resource": 7}}, {"resource": "fail"}),
        ({"resource": {"bearer_methods_supported": ["header", "query"]}}, {"bearer_methods": "fail"}),
        ({"resource": {"bearer_methods_supported": ["body"]}}, {"bearer_methods": "warn"}),
        ({"resource": {"scopes_supported": ["offline_access"]}}, {"scopes": "warn"}),
        ({"resource": {"authorization_servers": ["https://10.0.0.1/"]}}, {"authorization_server": "fail"}),
        ({"resource": {"authorization_servers": ["https://[broken"]}}, {"authorization_server": "fail"}),
        ({"metadata": "/login/.well-known/openid-configuration"}, {"authorization_server": "pass", "issuer": "pass"}),
        ({"server": {"issuer": "https://evil.example"}}, {"issuer": "fail", "pkce": "pass"}),
        ({"server": {"code_challenge_methods_supported": ["plain"]}}, {"pkce": "fail"}),
        ({"to_a_token": Told(500)}, {"bogus_token": "fail"}),
        ({"to_a_token": Told(403)}, {"bogus_token": "warn"}),
    ],
)
def test_each_weakness_of_a_guard_is_told(said, expected):
    checks = posture(looked_at(Protected(**said))[0])
    assert expected.items() <= checks.items()


def test_a_public_server_does_not_have_us_read_what_is_inside(monkeypatch):
    """It points to a document inside, where probes of inside servers may go; the look treats it as a public one."""
    with http(lambda _asked: Told(body={"authorization_servers": ["https://login.example"]})) as inside:
        fake = Protected(challenge=f'Bearer resource_metadata="{inside.url("/secret")}"')
        looked_at(fake)
        assert inside.connections == 1
        monkeypatch.setattr(look, "is_public", lambda _url: True)
        checks = posture(looked_at(fake)[0])
        assert inside.connections == 1
    assert checks["resource_metadata"] == "fail"


def test_the_resource_may_be_written_otherwise():
    fake = Protected()
    for resource, outcome in (("{}/mcp/", "warn"), ("{}", "warn"), ("{}/other", "fail")):
        with serving(fake) as listener:
            fake.said = {"resource": {"resource": resource.format(listener.url(""))}}
            assert posture(probe(listener.url(PATH)))["resource"] == outcome


def test_a_server_that_lists_to_any_token_is_caught():
    fake = Protected()

    def answer(asked):
        if asked.headers["Authorization"]:
            return result(asked, {"tools": []})
        return fake(asked)

    assert posture(looked_at(answer)[0])["bogus_token"] == "fail"


def test_a_server_that_greets_everybody_and_guards_its_list_is_protected():
    fake = Fake()

    def answer(asked):
        if asked.method == "POST" and asked.json["method"] != "server/discover":
            return Told(401, headers={"WWW-Authenticate": "Bearer"})
        return fake(asked)

    seen, _listener = looked_at(answer)
    assert (seen.outcome, seen.era) == ("protected", MODERN)


@pytest.mark.parametrize(("days", "outcome"), [(100, "pass"), (5, "warn")])
def test_the_end_of_the_certificate_is_noted(tmp_path, monkeypatch, settings, days, outcome):
    settings.OUTBOUND_ALLOW = ["localhost:*"]
    server, client = certificate(tmp_path, "localhost", days=days)
    door = look.Door
    monkeypatch.setattr(look, "Door", lambda **options: door(tls=client, **options))
    with http(Fake(), tls=server) as listener:
        seen = probe(listener.url(PATH, host="localhost"))
    assert (seen.outcome, posture(seen)["certificate"], posture(seen)["https"]) == ("listed", outcome, "pass")


# --- Steps ----------------------------------------------------------------------------------------------


def test_the_steps_are_told_as_they_happen():
    told = []
    with http(Fake()) as listener:
        probe(listener.url(PATH), say=lambda said, outcome: told.append((outcome, said)))
    assert told[0] == ("doing", "Greeting it.")
    assert ("pass", f"It speaks MCP {MODERN}.") in told
    assert ("pass", "It lists 2 tools, 1 prompts and 0 resource templates.") in told


def test_pointing_to_metadata_of_the_cloud_is_a_finding():
    seen = guarded_at("http://169.254.169.254/latest")
    inside = [each for each in seen.posture if each["check"] == "points_inside"]
    assert [each["outcome"] for each in inside] == ["fail"]
    assert "169.254.169.254, a cloud metadata address" in inside[0]["detail"]
    assert not any("shows no metadata" in each["detail"] for each in seen.posture)


def guarded_at(issuer: str):
    fake = Protected(resource={"authorization_servers": [issuer]})
    with serving(fake) as listener:
        return probe(listener.url(PATH))


def test_an_open_network_answers_on_named_ports_only(settings):
    with serving(Fake()) as listener:
        settings.OUTBOUND_ALLOW = ["127.0.0.0/8"]
        closed = probe(listener.url(PATH))
        assert closed.outcome == "refused" and f"Port {listener.port}" in closed.detail
        assert probe(listener.url(PATH), vouched=frozenset({listener.port})).outcome == "listed"
        assert probe(listener.url(PATH), vouched=None).outcome == "listed"
        settings.OUTBOUND_ALLOW = [f"127.0.0.0/8:{listener.port}"]
        assert probe(listener.url(PATH)).outcome == "listed"
        settings.OUTBOUND_ALLOW = ["127.0.0.0/8:1"]
        assert probe(listener.url(PATH), vouched=None).outcome == "refused"
        assert len({each.path for each in listener.asked}) == 1


# --- Real servers ---------------------------------------------------------------------------------------


def test_the_everything_server_over_streamable_http(public_servers):
    with public_servers.everything_over_http() as url:
        seen = probe(url)
        again = probe(url)
    assert (seen.outcome, seen.era, len(seen.listing.tools)) == ("listed", LEGACY, 13)
    assert seen.listing == again.listing
    assert seen.listing.instructions and seen.listing.prompts and seen.listing.resource_templates


def test_the_everything_server_over_sse(public_servers):
    with public_servers.everything_over_sse() as url:
        seen = probe(url)
    assert (seen.outcome, seen.era, seen.transport) == ("sse_only", "2024-11-05", "sse"), seen.detail


@pytest.mark.parametrize("name", ["fetch", "git", "time", "memory", "filesystem", "filesystem-2025"])
def test_servers_of_stdio_behind_http(public_servers, name):
    server = public_servers[name]
    with behind_http(server.command) as url:
        seen = probe(url)
    assert (seen.outcome, seen.era) == ("listed", MODERN if server.modern else LEGACY), seen.detail
    assert len(seen.listing.tools) == server.tools


def test_the_protocols_own_conformance_scenario(public_servers, tmp_path):
    """`initialize` of the conformance suite, with our command as the client under test."""
    suite = public_servers.script("@modelcontextprotocol/conformance")
    command = f"{sys.executable} {ROOT / 'manage.py'} probe"
    done = subprocess.run(
        [*suite, "client", "--command", command, "--scenario", "initialize"],
        env={**os.environ, "OUTBOUND_ALLOW": "localhost,127.0.0.0/8"},
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed: 1/1, 0 failed, 0 warnings" in done.stdout + done.stderr
