"""What is taken for a secret, what is not, and that nobody is told the value."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.errors import SecretRefused
from registry.core.secrets import (
    LABELS,
    PREFIXES,
    find_secret_values,
    find_secrets,
    is_stand_in,
    redact,
    refuse_secrets,
)

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
UUID_KEY = "7c0e3a52-91d4-4b6f-8a2c-5d1f0e9b3a77"


def rules(text: str) -> list[str]:
    return [match.rule for match in find_secrets(text)]


def pointers(value: Any) -> set[str]:
    return {"/" + "/".join(map(str, found.path)) for found in find_secret_values(value)}


# --- Texts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("ghp_" + "a1B2" * 9, "github-token"),
        ("github_pat_" + "11ABCDE0a_" * 4, "github-token"),
        ("glpat-" + "x9Yz" * 5, "gitlab-token"),
        ("use AKIA" + "QWERTYUIOPASDFGH today", "aws-access-key"),
        ("sk-proj-" + "Ab3dE" * 8, "openai-key"),
        ("xoxb-" + "123456789012-abcdefGHIJ", "slack-token"),
        ("stw_" + "Zm9vYmFy_-1" * 3, "steward-token"),
        ("sbp_" + "0123456789" * 4, "supabase-token"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLWhlcmU", "jwt"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA75\n-----END RSA PRIVATE KEY-----", "private-key"),
        ("-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0B", "private-key"),
        ("postgres://app:s3cr3tpw@db.example.test/app", "url-password"),
        ("postgresql://u:0000%40Fake%21%21@db.example.test:5432/postgres", "url-password"),
        ("https://api.example.test/mcp?api_key=9f8e7d6c5b4a39281706", "url-parameter"),
        ("https://mcp.example.test/api/mcp/s/Nk4YzE2Yjkt9Tc4Mi00ZjI4/mcp", "url-path-key"),
        ("Authorization: Bearer 9f8e7d6c5b4a39281706", "authorization"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZDEyMw==", "authorization"),
        ("Bearer a-long-random-secret", "authorization"),
        (f"npx run @x/y --api-key {UUID_KEY}", "flag"),
        ("--token=hunter2hunter2", "flag"),
        ("DB_PASSWORD=Tr0ub4dor&3", "assignment"),
        ("x-api-key: 9f8a7b6c5d4e3f2a1b0c", "assignment"),
    ],
)
def test_a_secret_is_found_and_redacted(text: str, rule: str) -> None:
    assert rules(text) == [rule]
    match = find_secrets(text)[0]
    value = text[match.start : match.end]
    assert value not in redact(text)
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        # stand-ins
        "Authorization: Bearer ${API_TOKEN}",
        "Authorization: Basic ${input:jenkins-basic-auth}",
        "Authorization:${AUTH_HEADER}",
        "--api-key <YOUR_API_KEY>",
        "--api-key=YOUR_REMBER_API_KEY",
        "--password <rabbitmq password>",
        "-e HUBSPOT_ACCESS_TOKEN=your_token",
        "API_KEY={token}",
        "TOKEN=${env:TOKEN}",
        "KALI_API_KEY=[REDACTED_API_KEY]",
        "https://mcp.example.test/sse?key=<YOUR_TOKEN>",
        "postgres://user:password@localhost/app",
        "postgres://app:${DB_PASSWORD}@db/app",
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "xoxb-your-bot-token",
        "password=changeme",
        # references
        "vault:kv/data/warehouse",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf",
        "projects/acme/secrets/warehouse/versions/3",
        "https://acme.vault.azure.net/secrets/warehouse/0123456789abcdef0123456789abcdef",
        "k8s:finance/warehouse",
        "env:DB_PASSWORD",
        "--key-file /path/to/service-account-key.json",
        # code and prose about secrets
        "token=self.token",
        "password=os.environ['PASSWORD']",
        "Bearer tokens are short-lived",
        "uses Basic authentication",
        "The token: a string that the server issued",
        "The file must contain a key starting with ``-----BEGIN PRIVATE KEY-----``.",
        "Airtable personal access token (e.g., pat123.abc123)",
        # long and mixed, but no secret
        "@modelcontextprotocol/server-filesystem@2025.8.21",
        "ghcr.io/example/warehouse:1.2.3@sha256:" + "0f28a9129cfebd26" * 4,
        "https://github.com/acme/x/blob/b4ee623039a6c60053ce67269701ad9e95073306/README.md",
        "c:/Users/x/workspaceStorage/00000000000000000000000000000fa4/index.mjs",
        "https://mcp.example.test/mcp?tools=web_search_exa,get_code_context_exa,crawling_exa",
    ],
)
def test_what_only_speaks_of_a_secret_passes(text: str) -> None:
    assert rules(text) == []


def test_every_rule_can_be_named_to_people() -> None:
    assert set(PREFIXES) <= set(LABELS)


def test_two_secrets_in_one_text_are_both_redacted() -> None:
    text = f"first ghp_{'a1B2' * 9}, then --token {UUID_KEY}."
    assert redact(text) == "first [REDACTED], then --token [REDACTED]"


@given(st.text(max_size=200))
def test_matches_are_ordered_disjoint_and_gone_after_redaction(text: str) -> None:
    matches = find_secrets(text)
    ends = [0, *(match.end for match in matches)]
    assert all(
        0 <= before <= match.start < match.end <= len(text) for before, match in zip(ends, matches, strict=False)
    )
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://a:b/" * 4000,
        "://a:" * 8000,
        "eyJ" * 15000,
        "a=b " * 12000,
        "sk-1" * 12000,
        "pass" + "a-" * 25000 + ".x",
    ],
    ids=["urls", "userinfo", "jwt", "assignments", "sk", "dotted"],
)
def test_hostile_text_takes_no_longer_than_honest_text(text: str) -> None:
    started = time.process_time()
    find_secrets(text)
    find_secrets(f"password={text}")
    assert time.process_time() - started < 3


def test_a_typical_form_takes_less_than_a_millisecond() -> None:
    form = {
        "title": "Warehouse SQL",
        "description": "Read-only SQL over the finance warehouse. " * 6,
        "website_url": "https://docs.example.test/warehouse/sql-server?tab=readme",
        "in_scope": ["Monthly close reports", "Forecast queries"],
        "reference": "vault:kv/data/warehouse-sql",
    }
    best = 1.0
    for _ in range(20):
        started = time.process_time()
        refuse_secrets(form)
        best = min(best, time.process_time() - started)
    assert best < 0.001


# --- Structured data -------------------------------------------------------------------------------------


def test_names_siblings_and_flags_give_context() -> None:
    config = {
        "env": {"DB_PASSWORD": "their-password", "EMAIL": "employee@example.test", "PASSWORD_FILE": "/run/secrets/db"},
        "args": ["run", "pkg", "--key", UUID_KEY, "--profile", "fake-profile-000000"],
        "variables": [
            {"name": "API_TOKEN", "value": "9f8e7d6c"},
            {"name": "REGION", "value": "eu-west-1"},
            {"name": "CLIENT_SECRET", "default": "your-client-secret"},
        ],
        "box_id": UUID_KEY,
        "access_token": "access-token",
        "max_tokens": "100000",
        "public_key": "9f8e7d6c5b4a39281706",
    }
    assert pointers(config) == {"/env/DB_PASSWORD", "/args/3", "/variables/0/value"}


def test_a_json_schema_that_declares_a_token_holds_none() -> None:
    schema = {
        "properties": {
            "token": {"type": "string", "description": "The ticket that sign-in returned"},
            "api_key": {"type": "string", "default": "", "format": "password"},
        },
        "required": ["token", "api_key"],
    }
    assert pointers(schema) == set()


def test_a_value_in_place_of_a_reference_is_found() -> None:
    assert pointers({"reference": "wJalrXUtnFEMI9K7MDENGbPx5RfiCYzzzz"}) == {"/reference"}
    assert pointers({"reference": "kv/data/warehouse-sql-2024"}) == set()
    assert pointers({"reference": "00001111-aaaa-2222-bbbb-3333cccc4444"}) == set()  # an OAuth client id


def test_refusal_names_every_field_and_no_value() -> None:
    secret = "hunter2-" + "Zq8" * 8
    with pytest.raises(SecretRefused) as caught:
        refuse_secrets(
            {
                "description": f"set PASSWORD={secret}",
                "title": "Fine",
                "tools": [{"name": "x", "description": f"--token {secret}"}],
                "count": 3,
                "nothing": None,
            }
        )
    assert set(caught.value.fields) == {"description", "tools.0.description"}
    message = caught.value.fields["description"][0]
    assert message.startswith("Looks like a credential assigned to a name.")
    assert "vault:kv/data/" in message
    assert secret not in str(caught.value.fields) + str(caught.value)


def test_no_secret_no_refusal() -> None:
    refuse_secrets(
        {"description": "Asks for an API token, kept in vault:kv/data/x.", "tags": ["a", "b"], "n": {"k": 1}}
    )


# --- Real configurations ---------------------------------------------------------------------------------

# Own small copies of the shapes of real client configurations, for clones without the shared data.
SHAPES: list[tuple[dict[str, Any], set[str]]] = [
    (
        {
            "mcpServers": {
                "box": {"command": "cmd", "args": ["/c", "npx", "-y", "runner", "run", "@x/box", "--key", UUID_KEY]}
            }
        },
        {"/mcpServers/box/args/7"},
    ),
    (
        {"mcpServers": {"db": {"args": ["-y", "@x/postgres", "postgresql://u.ref:0000%40Fk%21@pool.example.test/db"]}}},
        {"/mcpServers/db/args/2"},
    ),
    (
        {
            "mcpServers": {
                "r": {"args": ["--header", "Authorization:${H}"], "env": {"H_AUTH": "Bearer some-random-words"}}
            }
        },
        {"/mcpServers/r/env/H_AUTH"},
    ),
    (
        {"mcpServers": {"h": {"args": ["https://h.example.test/api/mcp/fakekey00000000000000000fa4e"]}}},
        {"/mcpServers/h/args/0"},
    ),
    (
        {
            "servers": {"gh": {"headers": {"Authorization": "Bearer ${input:PAT}"}}},
            "inputs": [{"id": "PAT", "password": True}],
        },
        set(),
    ),
]


@pytest.mark.parametrize(("config", "planted"), SHAPES)
def test_shapes_of_client_configurations(config: dict[str, Any], planted: set[str]) -> None:
    assert pointers(config) == planted


def manifest() -> list[dict[str, Any]]:
    path = SHARED / "client-configs" / "manifest.json"
    return json.loads(path.read_text()) if path.exists() else []


def test_exactly_the_planted_secrets_of_real_configurations() -> None:
    for row in manifest():
        text = (SHARED / "client-configs" / row["file"]).read_text()
        try:
            found = pointers(json.loads(text))
        except ValueError:  # comments, or TOML
            found = {match.rule for match in find_secrets(text)}
        assert found == set(row["planted_fake_secrets"]), row["file"]


def test_real_registry_entries_raise_few_alarms() -> None:
    path = SHARED / "official-registry" / "seed_2025_05_16.even.json"
    entries = json.loads(path.read_text()) if path.exists() else []
    alarmed = [index for index, entry in enumerate(entries) if pointers(entry)]
    assert len(alarmed) <= 3, alarmed


@pytest.mark.parametrize(("value", "shown"), [
    ("{name}", True), ("${NAME}", True), ("<NAME>", True), ("$NAME", True), ("${input:api-key}", True),
    ("{{ name }}", True), ("[REDACTED]", True), ("Bearer ${TOKEN}", True),
    ('{"apiKey":"Zq7XvR2mLp9KtW4sBn6Y"}', False), ('{"apiKey":"hunterhorsepass"}', False),
    ("{Zq7XvR2mLp9KtW4sBn6Y}", False), ("<Zq7XvR2mLp9KtW4sBn6Y>", False), ("$Zq7XvR2mLp9KtW4sBn6Y", False),
    ("${NAME}Zq7XvR2mLp9KtW4sBn6Y", False), ("{Zq7XvR2mLp9KtW4sBn6Y", False),
])  # fmt: skip
def test_braces_show_a_name_and_hide_no_value(value: str, shown: bool) -> None:
    assert is_stand_in(value) is shown
