"""Reading clients' configurations: every public sample, every client, and no value of a secret in what comes out."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.errors import Malformed
from registry.core.secrets import REDACTED, is_stand_in
from registry.discovery.entries import Configured, Refusal
from registry.discovery.formats import read_document
from registry.discovery.formats.client_secrets import Inline, inline_secrets
from tests.discovery import configurations

LISTED = {each["file"]: each for each in configurations.manifest()}
KEY = "k3yQ9zX1vB7mN2cT8rW4"


def read(text: str, **knowing: str) -> list[Configured | Refusal]:
    found = [row.read for row in read_document(text, **knowing)]
    assert all(isinstance(each, Configured | Refusal) for each in found)
    return found  # type: ignore[return-value]


def one(raw: dict[str, Any], name: str = "mine", **knowing: str) -> Configured:
    (found,) = read(json.dumps({"mcpServers": {name: raw}}), **knowing)
    assert isinstance(found, Configured), found.reasons
    return found


def told(entries: list[Configured | Refusal]) -> str:
    return json.dumps([vars(each) for each in entries], ensure_ascii=False) + repr(entries)


# --- The public samples ----------------------------------------------------------------------------------


def test_every_file_of_the_folder_is_expected() -> None:
    files = {path.name for path in configurations.FOLDER.iterdir()} - {"README.md", "manifest.json"}
    assert files == set(LISTED) == set(configurations.EXPECTED)


@pytest.mark.parametrize("file", sorted(configurations.EXPECTED))
def test_a_public_configuration_is_read_as_its_manifest_says(file: str) -> None:
    listed = LISTED[file]
    entries = read(configurations.text_of(file), file=configurations.usual_name(listed))
    outcome = [
        (
            each.name,
            "refused"
            if isinstance(each, Refusal)
            else (each.canonical_uri if each.identified else f"local {each.label}"),
        )
        for each in entries
    ]
    assert outcome == configurations.EXPECTED[file]
    read_ones = [each for each in entries if isinstance(each, Configured)]
    assert {each.client for each in read_ones} == {configurations.CLIENTS[listed["client"].split()[0]]}
    assert all(each.canonical_uri.startswith("local:") is not each.identified for each in read_ones)
    # Every planted secret is flagged, and nothing else is: no false alarm in any of the files.
    flagged = [secret["path"] for each in read_ones for secret in each.secrets]
    assert sorted(flagged) == sorted(listed["planted_fake_secrets"])
    assert {secret["redaction"] for each in read_ones for secret in each.secrets} <= {REDACTED}
    leaked = [value for value in configurations.planted_values(listed) if value in told(entries)]
    assert leaked == []


def test_the_entry_nobody_can_start_says_what_it_has() -> None:
    refused, _read = read(configurations.text_of("14-mcpjson-link-not-url.json"), file=".mcp.json")
    assert isinstance(refused, Refusal)
    assert refused.reasons == [
        "mcpServers.supabase: has neither a command nor an address, so no client can start it; it has link"
    ]


def test_no_path_of_a_machine_gets_into_what_is_kept() -> None:
    everything = "".join(
        told(read(configurations.text_of(file), file=configurations.usual_name(listed)))
        for file, listed in LISTED.items()
    )
    for part in ("exampleuser", "Administrator", "25_Codes", "/Users/", "/home/", "workspaceStorage", "opt/homebrew"):
        assert part not in everything


# --- Whose it is -----------------------------------------------------------------------------------------
ONE = {"mcpServers": {"x": {"url": "https://mcp.example.com/mcp"}}}


@pytest.mark.parametrize(
    ("document", "file", "client", "scope"),
    [
        (ONE, "/home/me/.cursor/mcp.json", "cursor", ""),
        (ONE, "C:\\Users\\me\\AppData\\Roaming\\Claude\\claude_desktop_config.json", "claude-desktop", "user"),
        (ONE, "repo/.mcp.json", "claude-code", "project"),
        (ONE, "/etc/claude-code/managed-mcp.json", "claude-code", "system"),
        (ONE, ".copilot/mcp-config.json", "copilot-cli", "user"),
        (ONE, "somewhere.json", "other", ""),
        ({"servers": ONE["mcpServers"]}, ".vscode/mcp.json", "vscode", "project"),
        ({"mcp": {"servers": ONE["mcpServers"]}}, "settings.json", "vscode", ""),
        ({"mcpServers": {"x": {"serverUrl": "https://mcp.example.com/mcp"}}}, "a.json", "windsurf", "user"),
        ({"mcpServers": {"x": {"type": "local", "command": "a", "tools": ["*"]}}}, "a.json", "copilot-cli", ""),
        ({"projects": {"/work/here": ONE}}, ".claude.json", "claude-code", "project"),
    ],
)
def test_whose_configuration_it_is(document: dict[str, Any], file: str, client: str, scope: str) -> None:
    (found,) = read(json.dumps(document), file=file)
    assert isinstance(found, Configured)
    assert (found.client, found.scope) == (client, scope)


def test_what_the_caller_knows_comes_first() -> None:
    found = one(ONE["mcpServers"]["x"], client="windsurf", place="Ada's laptop", file="a.json")
    assert (found.client, found.place) == ("windsurf", "Ada's laptop: a.json")


def test_projects_of_claude_code_are_places_of_their_own() -> None:
    document = {"mcpServers": ONE["mcpServers"], "projects": {"/work/here": ONE, "/work/empty": {}}}
    first, second = read(json.dumps(document), file="~/.claude.json")
    assert isinstance(first, Configured) and isinstance(second, Configured)
    assert (first.scope, first.place) == ("user", "~/.claude.json")
    assert (second.scope, second.place) == ("project", "~/.claude.json: /work/here")


def test_codex_names_variables_instead_of_values() -> None:
    (found,) = read(
        """
        model = "gpt"
        [mcp_servers.docs]
        url = "https://mcp.example.com/mcp/"
        bearer_token_env_var = "DOCS_TOKEN"
        env_http_headers = { "X-Tenant" = "TENANT" }
        enabled_tools = ["search"]
        disabled_tools = ["drop"]
        enabled = false
        """,
        file=".codex/config.toml",
    )
    assert isinstance(found, Configured)
    assert (found.client, found.canonical_uri) == ("codex", "https://mcp.example.com/mcp")
    assert found.facts["references"] == [
        {"name": "Authorization", "placed_in": "header", "kind": "environment", "reference": "DOCS_TOKEN",
         "secret": True},
        {"name": "X-Tenant", "placed_in": "header", "kind": "environment", "reference": "TENANT", "secret": False},
    ]  # fmt: skip
    assert found.facts["enabled"] is False
    assert found.facts["tools"] == {"only": ["search"], "without": ["drop"], "without_asking": []}


def test_inputs_of_vs_code_say_what_is_secret() -> None:
    document = {
        "inputs": [{"id": "tenant", "type": "promptString"}, {"id": "pin", "type": "promptString", "password": True}],
        "servers": {"x": {"url": "https://mcp.example.com", "headers": {"A": "${input:tenant}", "B": "${input:pin}"}}},
    }
    (found,) = read(json.dumps(document))
    assert isinstance(found, Configured)
    secret = {each["reference"]: each["secret"] for each in found.facts["references"]}
    assert secret == {"input:tenant": False, "input:pin": True}
    assert [(each["name"], each["secret"]) for each in found.facts["inputs"]] == [("A", False), ("B", True)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"mcpServers": {}}', "Another client without any server"),
        ('{"inputs": [], "colour": "blue"}', "It has inputs, colour"),
        ('{"context_servers": {}}', "client's configuration"),
        ("[mcp_servers]", "Codex without any server"),
        ("[tool.ruff]\nline-length = 120", "neither JSON nor TOML"),
        ('{"mcpServers": {"x": ' + '{"a":' * 80 + "1" + "}" * 80 + ", }", "neither JSON nor TOML"),
    ],
)
def test_what_is_no_configuration_says_what_would_be(text: str, why: str) -> None:
    with pytest.raises(Malformed) as refused:
        read_document(text)
    assert why in refused.value.message


@pytest.mark.parametrize("raw", [{}, {"command": 3}, {"url": ["a"]}, {"command": "npx", "args": "x"}, "npx", None, 7])
def test_an_entry_of_another_shape_is_refused_alone(raw: Any) -> None:
    first, second = read(json.dumps({"mcpServers": {"odd": raw, "good": {"command": "x"}}}))
    assert isinstance(first, Refusal) and isinstance(second, Configured)


# --- Secrets ---------------------------------------------------------------------------------------------
REMOTE = ["mcp-remote", "https://a.example/mcp"]


@pytest.mark.parametrize(
    ("raw", "paths"),
    [
        ({"command": "npx", "args": ["p", "--api-key", KEY]}, ["args/2"]),
        ({"command": "npx", "args": ["p", f"--api-key={KEY}"]}, ["args/1"]),
        ({"command": "npx", "args": ["p", "--key", "1b4e28ba-2fa1-41d2-883f-0016d3cca427"]}, ["args/2"]),
        ({"command": "npx", "args": [*REMOTE, "--header", f"X-Api-Key: {KEY}"]}, ["args/3"]),
        ({"command": "npx", "args": [*REMOTE, f"--header=X-Api-Key:{KEY}"]}, ["args/2"]),
        ({"command": "npx", "args": [*REMOTE, "--header", f"Authorization: Bearer {KEY}"]}, ["args/3"]),
        ({"command": "docker", "args": ["run", "-e", f"API_TOKEN={KEY}", "x/y"]}, ["args/2"]),
        ({"command": "npx", "args": ["p", f"postgresql://u:{KEY}@db.example/x"]}, ["args/1"]),
        ({"command": "bash", "args": ["-c", f"API_KEY={KEY} npx -y p"]}, ["args/1"]),
        ({"command": "bash", "args": ["-c", f"npx -y p --token {KEY}"]}, ["args/1"]),
        ({"url": f"https://u:{KEY}@a.example/mcp"}, ["url"]),
        ({"url": f"https://{KEY}@a.example/mcp"}, ["url"]),
        ({"url": f"https://a.example/mcp?api_key={KEY}"}, ["url"]),
        ({"url": f"https://a.example/mcp/{KEY}"}, ["url"]),
        ({"serverUrl": f"https://a.example/s/{KEY}/mcp"}, ["serverUrl"]),
        ({"url": "https://a.example", "headers": {"Authorization": f"Bearer {KEY}"}}, ["headers/Authorization"]),
        ({"url": "https://a.example", "headers": {"x-api-key": KEY}}, ["headers/x-api-key"]),
        ({"command": "x", "env": {"DB_PASS": "hunter2"}}, ["env/DB_PASS"]),
        ({"command": "x", "env": {"TOKEN": "${TOKEN:-" + KEY + "}"}}, ["env/TOKEN"]),
        ({"command": "x", "env": {"PASSWORD": "sun-shine"}}, ["env/PASSWORD"]),
        ({"url": "https://a.example", "oauth": {"client_secret": KEY}}, ["oauth/client_secret"]),
        ({"command": "x", "env": {"API_KEY": KEY}, "args": ["--start", f"now:{KEY}"]}, ["env/API_KEY", "args/1"]),
    ],
)  # fmt: skip
def test_a_secret_is_flagged_where_it_stands_and_not_kept(raw: dict[str, Any], paths: list[str]) -> None:
    found = one(raw)
    assert sorted(each["path"] for each in found.secrets) == sorted(f"/mcpServers/mine/{path}" for path in paths)
    for value in (KEY, "hunter2", "sun-shine", "1b4e28ba"):
        assert value not in told([found])


@pytest.mark.parametrize(
    "raw",
    [
        {"command": "x", "env": {"GITHUB_TOKEN": "${GITHUB_TOKEN}", "A_KEY": "${env:A_KEY}", "B_KEY": "${input:b}"}},
        {"command": "x", "env": {"API_KEY": "YOUR_API_KEY", "TOKEN": "[REDACTED_API_KEY]", "PAT": "your_token_here"}},
        {"command": "x", "env": {"TOKEN": "<token>", "SECRET": "op://vault/item/field", "KEY_FILE": "/etc/key.pem"}},
        {"command": "x", "env": {"PASS": "true", "TOKEN_LIMIT": "20000", "AUTH": "oauth"}},
        {"command": "x", "env": {"TOKEN": "${TOKEN:-}", "OTHER_TOKEN": "${OTHER_TOKEN:-YOUR_TOKEN}"}},
        {"url": "https://a.example/mcp?tools=search_all,fetch_all&project_ref=abcdefghijklmnopqrst"},
        {"url": "https://a.example/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}},
        {"command": "npx", "args": [*REMOTE, "--header", "Authorization: Bearer ${T}"]},
        {"command": "npx", "args": ["-y", "@scope/a-package-with-a-long-name@2025.10.31", "/srv/data/0fa4c1d2e3b4"]},
    ],
)
def test_what_only_names_a_secret_is_none(raw: dict[str, Any]) -> None:
    assert one(raw).secrets == []


def test_a_secret_for_a_name_is_not_kept_either() -> None:
    token = "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
    found = one({"url": "https://a.example/mcp", "env": {token: "1"}}, name=token)
    assert token not in told([found])
    assert REDACTED in found.entry


def test_what_holds_values_shows_none() -> None:
    (secret,) = inline_secrets({"env": {"API_KEY": KEY}}, ("mcpServers", "x"))
    assert secret == Inline(("mcpServers", "x", "env", "API_KEY"), "named-value", KEY)
    assert KEY not in repr(secret) and KEY not in str(secret)


@pytest.mark.parametrize(
    "text",
    [
        '{{"mcpServers": {{"x": {{"env": {{"A_TOKEN": "{0}"}}}}}}',
        '{{"A_TOKEN": "{0}"}}',
        'A_TOKEN = "{0}"',
        "token: {0}\n- x",
    ],
)
def test_a_refused_document_is_not_in_the_error_or_what_it_came_from(text: str) -> None:
    with pytest.raises(Malformed) as refused:
        read_document(text.format(KEY))
    error: BaseException | None = refused.value
    while error is not None:
        assert KEY not in str(error) and KEY not in repr(vars(error))
        error = error.__cause__


words = st.text("abcdefgh-_/@.0123456789", min_size=1, max_size=20)


@settings(max_examples=150, deadline=None)
@given(
    secret=st.text("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789", min_size=20, max_size=40).filter(
        lambda value: any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    ),
    before=st.lists(words, max_size=4),
    after=st.lists(words, max_size=3),
    shape=st.sampled_from(["flag", "equals", "url", "header", "env", "line", "path", "default"]),
    command=st.sampled_from(["npx", "uvx", "docker", "node", "cmd", "bash", "wsl.exe", "mcp-remote", "python", "./x"]),
)
def test_no_secret_survives_wherever_it_stands(
    secret: str, before: list[str], after: list[str], shape: str, command: str
) -> None:
    placed = {
        "flag": ["--api-key", secret],
        "equals": [f"--password={secret}"],
        "url": [f"https://user:{secret}@a.example/mcp?token={secret}"],
        "header": ["--header", f"Authorization: Bearer {secret}"],
        "line": ["-c", f"npx -y pkg --api-key {secret}"],
        "path": [f"https://a.example/keys/{secret}/mcp"],
    }.get(shape, [])
    environment = {"env": {"A_SECRET": secret}, "default": {"A_SECRET": "${A_SECRET:-" + secret + "}"}}.get(shape, {})
    raw = {"command": command, "args": [*before, *placed, *after, secret], "env": environment}
    found = one(raw, name=f"x {secret}")
    if shape in ("flag", "equals", "url", "header", "env", "default"):
        assert found.secrets or is_stand_in(secret)
    if found.secrets:
        assert secret not in told([found])
