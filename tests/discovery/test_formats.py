"""Reading published descriptions: every generation, every oddity, and nothing secret kept."""

import json
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.catalog.services import canonical_uri
from registry.core.errors import Invalid, Malformed
from registry.discovery.entries import Entry, Refusal
from registry.discovery.formats import read_document, read_rows
from registry.discovery.order import is_behind, is_newer
from registry.discovery.plan import File, plan
from registry.discovery.queries import read_entry
from tests.discovery import shapes

STDIO = {"type": "stdio"}


def one(raw: Any) -> Entry | Refusal:
    (row,) = read_rows(raw)
    return row.read


def entry(raw: Any) -> Entry:
    read = one(raw)
    assert isinstance(read, Entry), read.reasons
    return read


def refusal(raw: Any) -> Refusal:
    read = one(raw)
    assert isinstance(read, Refusal)
    return read


def uris(read: Entry) -> list[str]:
    return [canonical_uri(endpoint) for endpoint in read.endpoints]


def text_of(read: Entry | Refusal) -> str:
    return json.dumps([vars(read)], default=str)


# --- Generations -----------------------------------------------------------------------------------------


def test_the_current_generation() -> None:
    read = entry(shapes.current())
    assert (read.name, read.title, read.release, read.generation) == (
        "com.example/weather",
        "Weather",
        "1.2.0",
        "current",
    )
    assert read.repository_url == "https://github.com/example/weather"
    assert uris(read) == [
        "npm:@example/weather-mcp@1.2.0",
        "https://mcp.example.test/Weather?tools=forecast,alerts",
    ]
    package, remote = read.endpoints
    assert package["inputs"] == [
        {"name": "WEATHER_API_KEY", "placed_in": "environment", "required": True, "secret": True}
    ]
    # Its publisher forgot to call it a secret; its name does not.
    assert remote["inputs"] == [{"name": "Authorization", "placed_in": "header", "required": True, "secret": True}]


def test_the_middle_generation() -> None:
    read = entry(shapes.middle())
    assert (read.release, read.generation) == ("1.0.2", "2025-07")
    assert uris(read) == ["pypi:example-search@1.0.2", "https://search.example.test/sse"]
    assert read.endpoints[0]["inputs"] == [
        {"name": "SEARCH_TOKEN", "placed_in": "environment", "required": True, "secret": True}
    ]


def test_the_legacy_generation_and_what_is_odd_about_it() -> None:
    read = entry(shapes.legacy())
    assert read.generation == "legacy"
    assert uris(read) == ["package:files-mcp"]
    assert {(each["name"], each["secret"]) for each in read.endpoints[0]["inputs"]} == {
        ("FILES_PASSWORD", True),
        ("--token", True),
    }
    assert "description: is empty" in read.notes
    assert "packages.0.registry_name: does not say which registry holds the package" in read.notes
    assert "packages.0.version: is empty, so the package is not pinned" in read.notes
    assert shapes.TOKEN not in text_of(read)


def test_every_wrapping_holds_the_same_entries() -> None:
    plain = shapes.current()
    wrapped = [
        plain,
        [plain],
        {"servers": [{"server": plain, "_meta": {}}], "metadata": {"count": 1}},
        {"servers": [plain]},
        [{"source": {"repo": "x/y"}, "note": "", "entry": plain}],
    ]
    assert len({text_of(entry(each)) for each in wrapped}) == 1


# --- server.json: refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "field", "why"),
    [
        ({"name": ""}, "name", "empty"),
        ({"name": "kbag"}, "name", "one slash"),
        ({"name": "a/b/c"}, "name", "one slash"),
        ({"name": 7}, "name", "text"),
        ({"version": "latest"}, "version", "not a range"),
        ({"version": "^1.2.0"}, "version", "not a range"),
        ({"packages": "npm"}, "packages", "list"),
        ({"packages": ["npm"]}, "packages.0", "object"),
        ({"packages": [{"registryType": "npm", "identifier": "x"}]}, "packages.0.transport", "missing"),
        ({"packages": [{"registryType": "npm", "transport": STDIO}]}, "packages.0.identifier", "missing"),
        (
            {"packages": [{"registryType": "npm", "identifier": "x", "version": "latest", "transport": STDIO}]},
            "packages.0.version",
            "not a range",
        ),
        (
            {"packages": [{"registryType": "npm", "identifier": "x", "transport": {"type": "carrier-pigeon"}}]},
            "packages.0.transport.type",
            "must be stdio",
        ),
        (
            {
                "packages": [
                    {
                        "registryType": "npm",
                        "identifier": "x",
                        "version": "1.0.0",
                        "transport": STDIO,
                        "packageArguments": [{"type": "positional", "isRepeated": False}],
                    }
                ]
            },
            "packages.0.packageArguments.0",
            "value",
        ),
        (
            {"packages": [{"registryType": "mcpb", "identifier": "a", "fileSha256": "ABC", "transport": STDIO}]},
            "packages.0.fileSha256",
            "64",
        ),
        ({"remotes": [{"type": "stdio", "url": "https://x.example.test"}]}, "remotes.0.type", "sse"),
        ({"remotes": [{"type": "sse", "url": "ftp://x.example.test"}]}, "remotes.0.url", "http"),
        ({"remotes": [{"type": "sse", "url": "https://[broken"}]}, "remotes.0.url", "http"),
        ({"remotes": [{"type": "sse"}]}, "remotes.0.url", "missing"),
        ({"description": "a\x00b"}, "description", "cannot be stored"),
        ({"title": "\ud800"}, "title", "cannot be stored"),
    ],
)  # fmt: skip
def test_what_is_not_valid_is_refused_by_its_field(facts: dict[str, Any], field: str, why: str) -> None:
    refused = refusal(shapes.current(**facts))
    assert why in " ".join(refused.fields[field])
    assert not refused.nothing_wrong


@pytest.mark.parametrize(
    "facts",
    [
        {"name": f"com.example/ghp_{'a1B2' * 9}"},
        {"remotes": [{"type": "sse", "url": f"https://u:{shapes.PASSWORD}@x.example.test/sse"}]},
        {"remotes": [{"type": "sse", "url": f"https://x.example.test/sse?api_key={shapes.TOKEN}"}]},
        {"packages": [{"registryType": "oci", "identifier": f"ghp_{'a1B2' * 9}", "transport": STDIO}]},
        {"repository": {"url": f"https://u:{shapes.PASSWORD}@github.com/x/y", "source": "github"}},
        {"websiteUrl": f"https://x.example.test/?token={shapes.TOKEN}"},
    ],
)
def test_a_secret_that_names_or_reaches_the_server_is_refused_and_not_repeated(facts: dict[str, Any]) -> None:
    refused = refusal(shapes.current(**facts))
    assert any("looks like it holds" in reason for reason in refused.reasons)
    for value in (*shapes.PLANTED, "a1B2a1B2"):
        assert value not in text_of(refused)


# --- server.json: kept without ---------------------------------------------------------------------------


def test_a_secret_in_a_droppable_place_leaves_only_a_note_of_the_place() -> None:
    raw = shapes.current(description=f"Use it with PASSWORD={shapes.PASSWORD} please.")
    raw["packages"][0]["environmentVariables"] = [
        {"name": "DB_URL", "value": f"postgres://u:{shapes.PASSWORD}@db.example.test/x"},
        {"name": "API_TOKEN", "default": shapes.TOKEN},
    ]
    raw["packages"][0]["runtimeArguments"] = [{"type": "named", "name": "-e", "value": f"KEY={shapes.AWS_KEY}"}]
    raw["remotes"][0]["headers"] = [{"name": "Authorization", "value": f"Bearer {shapes.TOKEN}"}]
    raw["_meta"] = {f"token {shapes.AWS_KEY}": {"api_token": shapes.TOKEN}}
    read = entry(raw)
    assert read.description == "Use it with PASSWORD=[REDACTED] please."
    for value in shapes.PLANTED:
        assert value not in text_of(read)
    noted = {note.partition(":")[0] for note in read.notes}
    assert {
        "description",
        "packages.0.environmentVariables.0.value",
        "packages.0.environmentVariables.1.default",
        "packages.0.runtimeArguments.0.value",
        "remotes.0.headers.0.value",
    } <= noted


def test_a_placeholder_in_an_address_becomes_an_input() -> None:
    read = entry(
        shapes.legacy(
            packages=[], remotes=[{"transport_type": "", "url": "https://m.example.test/sse?key=<YOUR_TOKEN>&lang=en"}]
        )
    )
    assert uris(read) == ["https://m.example.test/sse?lang=en"]
    assert read.endpoints[0]["transport"] == "sse"
    assert read.endpoints[0]["inputs"] == [{"name": "key", "placed_in": "url", "required": True, "secret": True}]


def test_templates_nobody_filled_in_are_no_release() -> None:
    package = {"registryType": "oci", "identifier": "ghcr.io/x/y:${VERSION}", "transport": STDIO}
    read = entry(shapes.current(version="${VERSION}", packages=[package], remotes=[]))
    assert read.release == ""
    assert uris(read) == ["oci:ghcr.io/x/y"]


def test_variables_of_arguments_and_addresses_are_inputs() -> None:
    raw = shapes.current(packages=[], remotes=[{"type": "sse", "url": "https://{host}/sse", "variables": {"host": {}}}])
    assert [each["name"] for each in entry(raw).endpoints[0]["inputs"]] == ["host"]
    raw = shapes.current()
    token = {"isSecret": True, "isRequired": True}
    raw["packages"][0]["runtimeArguments"] = [
        {"type": "named", "name": "-e", "value": "TOKEN={token}", "variables": {"token": token}},
        {"type": "named", "name": "--rm", "value": "true"},
    ]  # fmt: skip
    assert {"name": "token", "placed_in": "argument", "required": True, "secret": True} in entry(raw).endpoints[0][
        "inputs"
    ]
    assert "--rm" not in {each["name"] for each in entry(raw).endpoints[0]["inputs"]}


def test_long_texts_are_cut_or_kept_with_a_note() -> None:
    read = entry(shapes.current(title="T" * 150, description="d " * 1500, websiteUrl="javascript:alert(1)"))
    assert len(read.title) == 100
    assert len(read.description) <= 2000
    assert read.website_url == ""
    assert {"title: was cut to 100 characters", "description: was cut to 2000 characters"} <= set(read.notes)


def test_the_same_endpoint_twice_is_one() -> None:
    raw = shapes.current()
    raw["packages"].append(dict(raw["packages"][0]))
    read = entry(raw)
    assert len(read.endpoints) == 2
    assert "packages.1: names an endpoint that is listed already" in read.notes


def test_nothing_to_reach_is_passed_over_not_refused() -> None:
    read = refusal(shapes.current(packages=[], remotes=[]))
    assert read.nothing_wrong
    assert "neither packages nor remotes" in read.reasons[0]


# --- Docker ----------------------------------------------------------------------------------------------


def test_a_docker_row() -> None:
    read = entry([shapes.docker_row()])
    assert (read.name, read.release) == ("io.github.example-labs/warehouse", "2.1.0")
    assert uris(read) == ["oci:mcp/warehouse:2.1.0"]
    assert read.endpoints[0]["inputs"] == [
        {"name": "WAREHOUSE_PASSWORD", "placed_in": "environment", "required": True, "secret": True},
        {"name": "AWS_ACCESS_KEY_ID", "placed_in": "environment", "required": False, "secret": False},
    ]
    assert {tool["name"]: tool["claimed_class"] for tool in read.tools} == {
        "list_stock": "read",
        "drop": "destructive",
        "move": "write",
        "plain": "",
    }
    plain = next(tool for tool in read.tools if tool["name"] == "plain")
    assert plain["description"] == "Say password=[REDACTED]"
    assert plain["definition"]["inputSchema"]["required"] == ["x"]
    for value in shapes.PLANTED:
        assert value not in text_of(read)


def test_a_plain_server_yaml_and_its_names() -> None:
    (row,) = read_document(shapes.DOCKER_YAML)
    assert isinstance(row.read, Entry)
    remote = "name: acme\ntype: remote\nabout: {title: A, description: B}\nremote: {transport_type: sse, url: https://a.example.test/sse}"
    assert entry([{"server_yaml": remote}]).name == "com.docker.mcp/acme"


def test_a_bundle_of_containers_is_passed_over() -> None:
    read = refusal([{"server_yaml": shapes.POCI_YAML}])
    assert read.nothing_wrong
    assert read.reasons == ["type: is a bundle of containers (poci), not an MCP server"]


@pytest.mark.parametrize(
    "row",
    [
        {"server_yaml": "a: [b"},
        {"server_yaml": "- just\n- a list"},
        {"server_yaml": 7},
        {"server_yaml": "a: &a [x]\nb: [*a, *a]"},
        {"server_yaml": "name: ../../x\ntype: server\nabout: {}\nimage: x"},
        {"server_yaml": "!!python/object/apply:os.system ['true']"},
    ],
)
def test_yaml_that_is_broken_or_hostile_is_refused(row: dict[str, Any]) -> None:
    assert not refusal([row]).nothing_wrong


def test_broken_tools_are_left_out_with_a_note() -> None:
    read = entry([shapes.docker_row(tools_json="[{")])
    assert read.tools == []
    assert "tools_json: is not JSON and was left out" in read.notes


# --- Documents -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("{", "line 1"),
        ("# Read me\n\nSome words.", "neither JSON"),
        ('{"definitions": {}, "$schema": "x"}', "not a list of servers"),
        ('{"mcpServers": {}}', "without any server"),
        ("42", "not a list of servers"),
        ("[" * 100_000, "nested"),
    ],
)
def test_what_holds_no_servers_says_so(text: str, why: str) -> None:
    with pytest.raises(Malformed, match=re.escape(why)):
        read_document(text)


def test_rows_that_are_no_servers_are_refused_each() -> None:
    reads = [row.read for row in read_rows([1, "x", None, {}, {"foo": "bar"}, shapes.current()])]
    assert [isinstance(read, Refusal) for read in reads] == [True] * 5 + [False]


def test_read_entry_is_for_exactly_one() -> None:
    assert read_entry(json.dumps(shapes.current())).name == "com.example/weather"
    with pytest.raises(Invalid, match="2 entries"):
        read_entry(json.dumps([shapes.current(), shapes.middle()]))
    with pytest.raises(Invalid) as caught:
        read_entry(json.dumps(shapes.current(name="kbag")))
    assert "name" in caught.value.fields


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
KEYS = st.sampled_from(
    [
        "name",
        "version",
        "packages",
        "remotes",
        "registryType",
        "identifier",
        "transport",
        "type",
        "url",
        "headers",
        "variables",
        "repository",
        "title",
        "version_detail",
        "server",
        "entry",
        "servers",
        "server_yaml",
        "tools_json",
        "about",
        "source",
        "image",
        "remote",
        "config",
        "secrets",
        "env",
        "packageArguments",
        "environmentVariables",
        "$schema",
        "_meta",
        "description",
        "value",
        "default",
    ]
)
SERVERISH = st.recursive(
    JSON | st.just("com.example/x") | st.just("https://x.example.test"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=30,
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(SERVERISH)
def test_no_json_crashes_the_reader(document: Any) -> None:
    try:
        rows = read_rows(document)
    except Malformed:
        return
    for row in rows:
        assert isinstance(row.read, Entry | Refusal)
        assert row.read.name == "" or "/" in row.read.name
        if isinstance(row.read, Refusal):
            assert row.read.reasons


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=200))
def test_no_text_crashes_the_reader(text: str) -> None:
    with suppress(Malformed):
        read_document(text)


# --- Order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "other", "newer"),
    [
        ("1.10.0", "1.9.9", True),
        ("1.0.0", "1.0.0-rc.1", True),
        ("1.0.0-rc.2", "1.0.0-rc.10", False),
        ("1.0.0-rc.1", "1.0.0-rc", True),
        ("v2.0", "1.9", True),
        ("1.0.0", "1.0.0", False),
        ("1.0.0+b", "1.0.0+a", False),
        ("", "1.0.0", False),
        ("1.0.0", "", False),
        ("2024.04", "abc", False),
    ],
)
def test_which_release_is_newer(release: str, other: str, newer: bool) -> None:
    assert is_newer(release, other) is newer


def test_a_release_without_order_does_not_replace_one_with() -> None:
    assert is_behind("", "1.0.0")
    assert is_behind("0.9.0", "1.0.0")
    assert not is_behind("1.0.0", "")
    assert not is_behind("1.0.0", "1.0.0")


def test_the_newest_of_several_wins_whatever_their_order() -> None:
    releases = ["1.2.0", "1.3.0", "1.1.0", "1.3.0"]
    file = File("a.json", read_rows([shapes.current(version=release) for release in releases]))
    assert [each.settled for each in plan([file])] == ["", "", "skipped", "skipped"]


# --- Real data -------------------------------------------------------------------------------------------


def test_the_real_corpora_read_as_known() -> None:
    if not shapes.REAL.exists():
        return
    found = {}
    for path in sorted(shapes.REAL.glob("*.json")):
        if "schema" not in path.name:
            reads = [row.read for row in read_document(path.read_text())]
            refused = [read for read in reads if isinstance(read, Refusal)]
            found[path.name.partition(".")[0].partition("_")[0]] = (
                len(reads),
                sum(not read.nothing_wrong for read in refused),
                sum(read.nothing_wrong for read in refused),
            )
    assert found == {"docker-mcp-registry": (164, 0, 1), "seed": (236, 4, 0), "server-json-current": (21, 4, 0)}
