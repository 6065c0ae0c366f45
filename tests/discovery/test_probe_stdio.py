"""Looking at servers over stdio: real public ones, and one that does what real ones were seen to do."""

import io
import json
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from registry.catalog import services as catalog
from registry.discovery import services, stdio
from registry.discovery.comparison import compare
from registry.discovery.definitions import normalise
from registry.discovery.models import Drift, DriftState, Snapshot
from registry.discovery.stdio import flattened, look_at
from tests import factories as make
from tests.discovery.listings import tool, watch_of
from tests.discovery.public_servers import PublicServers

FIXTURE = Path(__file__).with_name("stdio_server.py")
ERA = {True: "2026-07-28", False: "2025-11-25"}


@pytest.fixture
def release(tmp_path):
    """`release(*tools, **more)` writes what the fixture server lists; returns the command that starts it."""
    made: list[Path] = []

    def write(*tools: dict[str, Any], flags: tuple[str, ...] = (), **more: Any) -> list[str]:
        made.append(tmp_path / f"listing{len(made)}.json")
        made[-1].write_text(json.dumps({"tools": list(tools), **more}))
        return [sys.executable, str(FIXTURE), str(made[-1]), *flags]

    return write


def stdio_server(**facts: Any) -> Any:
    package = {"transport": "stdio", "package_registry": "npm", "package_identifier": "@example/files"}
    return make.complete_draft(tools=[], endpoints=[package | {"package_version": "1.2.3"}], **facts)


def probe(server: Any, command: Any, *options: str) -> str:
    out = io.StringIO()
    given = ("--server", server.name, *(options or ("--local",)), "--", *map(str, command))
    call_command("probe_stdio", *given, stdout=out)
    return out.getvalue()


def approve(server: Any) -> None:
    """Put it into service as it was seen."""
    catalog.submit_server(actor=make.acting(server.owner), server=server)
    catalog.activate_server(actor=make.acting(make.person("reviewer")), server=server)
    services.settle_server(server_id=server.pk)


def drifts(server: Any) -> dict[str, str]:
    found = Drift.objects.filter(server=server, state=DriftState.OPEN)
    return {each["sentence"]: each["severity"] for drift in found for each in drift.differences}


# --- Real servers ----------------------------------------------------------------------------------------


def test_a_server_that_starts_late_and_speaks_only_what_is_new_is_listed(release, monkeypatch):
    assert stdio.DISCOVER_LIMIT >= 15, "a first start takes up to nine seconds, on a busy machine more"
    monkeypatch.setattr(stdio, "DISCOVER_LIMIT", 0.5)
    seen = look_at(release(tool("a"), flags=("--modern", "--late", "--only-modern")), limit=20)
    assert (seen.outcome, seen.era, len(seen.listing.tools)) == ("listed", "2026-07-28", 1)


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["everything", "filesystem", "filesystem-2025", "memory", "fetch", "git", "time"])
def test_public_servers_list_what_is_documented_and_do_not_drift_from_themselves(name, public_servers: PublicServers):
    public = public_servers[name]
    server = stdio_server()
    said = probe(server, public.command)
    assert f"{public.tools} tools" in said
    first, second = Snapshot.objects.filter(server=server)
    assert {first.era, second.era} == {ERA[public.modern]}
    assert first.definitions_id == second.definitions_id
    assert server.tools.filter(retired_at=None).count() == public.tools
    assert (first.channel, first.endpoint, first.transport) == ("command", server.endpoints.get(), "stdio")
    assert watch_of(server).stability == "stable"
    if not public.modern:  # those start fast enough to be started twice more
        approve(server)
        assert "recorded" in probe(server, public.command)
        assert not Drift.objects.exists()


@pytest.mark.django_db
def test_two_releases_of_the_filesystem_server_are_drift(public_servers: PublicServers):
    server = stdio_server()
    probe(server, public_servers["filesystem-2025"].command)
    approve(server)
    said = probe(server, public_servers["filesystem"].command)
    found = drifts(server)
    # Both say to be version 0.2.0, so a version number proves nothing.
    versions = {each.server_info["version"] for each in Snapshot.objects.all()}
    assert versions == {"0.2.0"}
    assert len({each.definitions_id for each in Snapshot.objects.all()}) == 2
    assert found["`write_file` says about its effects now: it may destroy"] == "low"
    assert found["`read_file` says about its effects now: it only reads"] == "low"
    assert found["the description of `search_files` says something else"] == "high"
    assert len([each for each in found if "says about its effects now" in each]) == 14, "annotations on every tool"
    assert "drift (high):" in said
    assert "the description of `search_files` says something else" in said


# --- What was seen on real servers, with a server of our own ----------------------------------------------


@pytest.mark.django_db
def test_the_other_drift_pairs_are_told_in_their_words(release):
    """Each pair as it was met: renamed tools under one version, a new merging tool, and thirteen opened schemas."""
    base = [tool(f"tool_{n}", description=f"Does thing number {n} to a document.") for n in range(13)]
    server = stdio_server()
    probe(server, release(*base))
    approve(server)

    renamed = deepcopy(base)
    renamed[3]["name"] = "tool_three"
    probe(server, release(*renamed))
    assert drifts(server) == {"`tool_3` is probably called `tool_three` now": "medium"}

    merging = tool("merge_pull_request", reads=None, description="Merges a pull request.")
    probe(server, release(*base, merging))
    assert drifts(server) == {
        "`merge_pull_request` is new and not read-only: it says nothing about its effects": "critical"
    }

    opened = deepcopy(base)
    for each in opened:
        del each["inputSchema"]["additionalProperties"]
    probe(server, release(*opened))
    assert drifts(server) == {f"`tool_{n}` no longer refuses unknown arguments": "medium" for n in range(13)}

    probe(server, release(*base))
    assert drifts(server) == {}
    assert not watch_of(server).unstable_paths


@pytest.mark.django_db
def test_unordered_defaults_make_a_server_unstable_not_drifted(release):
    server = stdio_server()
    command = release(tool("pick"), tool("keep", description="Keeps."), flags=("--unordered",))
    probe(server, command)
    approve(server)
    said = probe(server, command)
    assert watch_of(server).stability == "unstable"
    assert watch_of(server).unstable_paths == ["/tools/pick/inputSchema/properties/q/default#order"]
    assert "unstable definition" in said
    assert "differs between two looks: /tools/pick/inputSchema/properties/q/default" in said
    for _ in range(2):
        probe(server, command)
    assert not Drift.objects.exists()
    worse = release(tool("pick"), tool("keep", reads=False, description="Keeps."), flags=("--unordered",))
    probe(server, worse)
    assert drifts(server)["`keep` is no longer read-only"] == "high"
    assert not any("pick" in sentence for sentence in drifts(server))


def test_time_zone_and_locale_are_pinned(release, monkeypatch):
    command = release(tool("now"), flags=("--zone",))
    digests = set()
    for zone, locale in (("Asia/Tokyo", "de_DE.UTF-8"), ("America/Lima", "C")):
        monkeypatch.setenv("TZ", zone)
        monkeypatch.setenv("LANG", locale)
        digests.add(normalise(look_at(command).listing).digest)
    assert len(digests) == 1


def test_raw_messages_are_hashed_whatever_else_they_hold(release):
    plain, odd = tool("search"), tool("search", _meta={"n": 1}, icons=[], vendor={"x": 1})
    reordered = {key: odd[key] for key in reversed(odd)}
    first, second = (look_at(release(each)) for each in (plain, reordered))
    assert second.listing.tools[0]["vendor"] == {"x": 1}, "the raw message, not the SDK's reading of it"
    assert compare(normalise(first.listing), normalise(second.listing)) == []
    assert normalise(first.listing).digest == normalise(second.listing).digest


@pytest.mark.parametrize(
    ("flags", "era"),
    [
        ((), "2025-06-18"),
        (("--modern",), "2026-07-28"),
        (("--pages",), "2025-06-18"),
        (("--noise", "--asks"), "2025-06-18"),
        (("--dies",), "2025-06-18"),
    ],
    ids=["legacy", "modern", "pages", "noise and questions", "dies of the unknown"],
)
def test_servers_of_every_habit_are_understood(release, flags, era):
    tools = [tool(f"t{n}") for n in range(5)]
    seen = look_at(release(*tools, flags=flags, instructions="Be brief.", prompts=[{"name": "ask"}]))
    assert (seen.outcome, seen.era, seen.detail) == ("listed", era, "")
    assert [each["name"] for each in seen.listing.tools] == ["t0", "t1", "t2", "t3", "t4"]
    if era != "2026-07-28":
        assert (seen.listing.instructions, seen.listing.prompts) == ("Be brief.", [{"name": "ask"}])
        assert seen.server_info["version"] == "0.2.0"


def test_what_goes_wrong_is_classified(release, tmp_path):
    assert look_at([str(tmp_path / "missing")]).outcome == "unreachable"
    assert look_at([sys.executable, "-c", "pass"]).outcome == "failed"
    slow = look_at(release(tool("a"), flags=("--silent",)), limit=1.0)
    assert (slow.outcome, slow.detail) == ("timed_out", "No answer within 1 seconds.")
    circle = look_at(release(tool("a"), flags=("--circle",)))
    assert (circle.outcome, circle.detail) == ("not_mcp", "Its pages of tools go round in a circle.")
    echo = (
        "import sys, json\nfor line in sys.stdin:\n"
        "    print(json.dumps({'jsonrpc': '2.0', 'id': json.loads(line).get('id'), 'result': {}}), flush=True)"
    )
    assert look_at([sys.executable, "-c", echo]).outcome == "not_mcp"


def test_groups_of_errors_are_flattened():
    inner = ExceptionGroup("a", [ValueError("1"), ExceptionGroup("b", [KeyError("2")])])
    assert [type(each) for each in flattened(inner)] == [ValueError, KeyError]


# --- The command -----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_dry_run_prints_json_and_keeps_nothing(release):
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    server = stdio_server()
    command = release(tool("search", description=f"Call with --token {secret}."))
    said = json.loads(probe(server, command, "--dry-run"))
    assert said["stable"] is True
    assert [len(each["definitions"]["tools"]) for each in said["looks"]] == [1, 1]
    assert secret not in json.dumps(said)
    assert not Snapshot.objects.exists()


@pytest.mark.django_db
def test_a_server_that_fails_is_recorded_and_the_command_says_so(release):
    server = stdio_server()
    with pytest.raises(CommandError, match="Took too long"):
        probe(server, release(tool("a"), flags=("--silent",)), "--local", "--limit", "1")
    assert Snapshot.objects.get().outcome == "timed_out"


@pytest.mark.django_db
def test_what_the_command_refuses(release, tmp_path, monkeypatch):
    server = stdio_server()
    command = release(tool("a"))
    with pytest.raises(CommandError, match="Say where to hand it in"):
        call_command("probe_stdio", "--server", server.name, "--", *command)
    with pytest.raises(CommandError, match="No server is called"):
        call_command("probe_stdio", "--server", "com.example/none", "--local", "--", *command)
    with pytest.raises(CommandError, match="token file cannot be read"):
        probe(server, command, "--api", "http://127.0.0.1:9", "--token-file", str(tmp_path / "none"))
    monkeypatch.setenv("SOME_KEY", "x")
    with pytest.raises(CommandError, match="--identity"):
        probe(server, command, "--local", "--env", "SOME_KEY")
    probe(server, command, "--local", "--env", "SOME_KEY", "--identity", "staff")
    assert watch_of(server).identity == "staff"


@pytest.mark.django_db
def test_without_a_command_the_package_of_the_endpoint_is_started(monkeypatch):
    from registry.discovery.management.commands import probe_stdio

    started = []
    monkeypatch.setattr(probe_stdio, "look_at", lambda command, **_: started.append(command) or look_at(["/missing"]))
    server = stdio_server()
    with pytest.raises(CommandError, match="cannot be started here"):
        call_command("probe_stdio", "--server", server.name, "--local", stdout=io.StringIO())
    assert started == [["npx", "-y", "@example/files@1.2.3"]]


@pytest.mark.django_db(transaction=True)
def test_the_command_pushes_over_rest(release, live_server, tmp_path):
    server = stdio_server()
    token = tmp_path / "token"
    token.write_text(make.token_for(server.owner, "read", "write"))
    where = ("--api", live_server.url, "--token-file", str(token))
    said = probe(server, release(tool("search")), *where)
    assert "recorded" in said
    assert {each.by for each in Snapshot.objects.all()} == {server.owner}
    approve(server)
    said = probe(server, release(tool("search"), tool("drop", reads=False, description="Drops.")), *where)
    assert "drift (critical):" in said and "`drop` is new, not read-only, and may destroy" in said
    outsider = tmp_path / "other"
    outsider.write_text(make.token_for(make.person()))
    with pytest.raises(CommandError, match="The registry said 403"):
        probe(server, release(tool("search")), "--api", live_server.url, "--token-file", str(outsider))
