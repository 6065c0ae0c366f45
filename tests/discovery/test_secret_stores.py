"""Stores of secrets: what each answers becomes an outcome, and a value never comes in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from registry.catalog.models import SecretSource
from registry.discovery import stores
from registry.discovery.stores import aws, kubernetes, vault
from tests.discovery.aws import Aws, client, emulator
from tests.listeners import Asked, Listener, Told, http

PLANTED = "planted-9f3c-value-of-a-secret"


def looked(kind: str, reference: str) -> stores.Looked:
    return stores.check(SecretSource(kind=kind, reference=reference))


# --- AWS -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with emulator(tmp_path_factory.mktemp("aws")) as running:
        for name in ("prod/warehouse", "prod/rotating", "prod/leaving"):
            running.admin.create_secret(Name=name, SecretString=PLANTED, Description=PLANTED)
        running.admin.rotate_secret(SecretId="prod/rotating", RotationRules={"AutomaticallyAfterDays": 30})
        running.admin.delete_secret(SecretId="prod/leaving")
        yield running


@pytest.fixture
def limited(emulated: Aws, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    settings.AWS_REGION, settings.AWS_ENDPOINT_URL_SECRETS_MANAGER = "eu-central-1", emulated.url
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", emulated.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", emulated.secret)
    aws._client.cache_clear()
    emulated.forget()
    yield emulated
    aws._client.cache_clear()


def test_a_secret_that_is_there_is_verified(limited: Aws) -> None:
    seen = looked("aws_secrets_manager", "prod/warehouse")
    assert (seen.outcome, seen.rotation_enabled, seen.last_rotated_at) == ("verified", False, None)
    assert seen.last_changed_at is not None and seen.facts["Versions"] == 1


def test_rotation_is_told(limited: Aws) -> None:
    seen = looked("aws_secrets_manager", "prod/rotating")
    assert (seen.outcome, seen.rotation_enabled) == ("verified", True)
    assert seen.last_rotated_at is not None and seen.facts["AutomaticallyAfterDays"] == 30
    assert "NextRotationDate" in seen.facts


def test_a_secret_in_its_recovery_window_is_marked_for_deletion(limited: Aws) -> None:
    seen = looked("aws_secrets_manager", "prod/leaving")
    assert seen.outcome == "deleted" and "DeletedDate" in seen.facts


def test_what_is_not_there_is_not_found(limited: Aws) -> None:
    seen = looked("aws_secrets_manager", "prod/nothing")
    assert seen.outcome == "not_found" and "eu-central-1" in seen.detail


def test_an_arn_names_its_region_and_may_go_on_with_a_key(limited: Aws, settings: Any) -> None:
    arn = limited.admin.describe_secret(SecretId="prod/warehouse")["ARN"]
    settings.AWS_REGION = "us-east-1"
    for reference in (arn, f"{arn}:password::", f"{arn}:password:AWSCURRENT:"):
        assert looked("aws_secrets_manager", reference).outcome == "verified", reference


@pytest.mark.parametrize(
    "reference",
    ["arn:aws:iam::123456789012:role/x", "arn:aws:secretsmanager:evil.example/:1:secret:x", "arn:aws:x:y"],
)
def test_an_arn_of_something_else_is_not_asked_about(limited: Aws, reference: str) -> None:
    assert looked("aws_secrets_manager", reference).outcome == "cannot_check"
    assert limited.asked() == []


def test_the_documented_policy_reads_no_value_and_neither_does_our_client(limited: Aws) -> None:
    with pytest.raises(Exception, match="not authorized to perform: secretsmanager:GetSecretValue") as refused:
        limited.client().get_secret_value(SecretId="prod/warehouse")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    with pytest.raises(Exception, match="not authorized"):
        limited.client().batch_get_secret_value(SecretIdList=["prod/warehouse"])
    limited.forget()
    ours = aws._client("eu-central-1", limited.url, "")
    for operation in (ours.get_secret_value, ours.put_secret_value, ours.delete_secret):
        with pytest.raises(PermissionError):
            operation(SecretId="prod/warehouse")
    assert limited.asked() == [], "stopped before it left the process"


def test_a_policy_without_describe_cannot_check(limited: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-right-one")
    aws._client.cache_clear()
    assert looked("aws_secrets_manager", "prod/warehouse").outcome == "cannot_check"


def test_without_credentials_it_says_so_and_finds_them_later(
    limited: Aws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    assert "no AWS credentials" in looked("aws_secrets_manager", "prod/warehouse").detail
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", limited.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", limited.secret)
    assert looked("aws_secrets_manager", "prod/warehouse").outcome == "verified"


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (400, "ThrottlingException", "fewer requests"),
        (400, "AccessDeniedException", "does not let"),
        (400, "ExpiredTokenException", "credentials"),
        (500, "InternalServiceError", "InternalServiceError"),
    ],
)
def test_refusals_of_aws_are_told_apart(limited: Aws, settings: Any, status: int, code: str, said: str) -> None:
    with http(lambda asked: Told(status, {"__type": code, "message": PLANTED})) as other:
        settings.AWS_ENDPOINT_URL_SECRETS_MANAGER = other.url()
        seen = looked("aws_secrets_manager", "prod/warehouse")
    assert seen.outcome == "cannot_check" and said in seen.detail and PLANTED not in seen.detail


def test_aws_that_is_away_cannot_be_checked(limited: Aws, settings: Any) -> None:
    settings.AWS_ENDPOINT_URL_SECRETS_MANAGER = "http://127.0.0.1:9"
    assert "could not be reached" in looked("aws_secrets_manager", "prod/warehouse").detail


def test_the_planted_value_is_really_there(emulated: Aws) -> None:
    """Otherwise not finding it elsewhere would prove nothing."""
    everything = client(emulated.url, "secretsmanager", *_keys(emulated.admin))
    assert everything.get_secret_value(SecretId="prod/warehouse")["SecretString"] == PLANTED


def _keys(made: Any) -> tuple[str, str]:
    credentials = made._request_signer._credentials
    return credentials.access_key, credentials.secret_key


# --- Vault: a server written for these tests ---------------------------------------------------------------

TOKEN = "hvs-stub-token-of-the-registry"
VERSION = {"created_time": "2026-03-22T02:24:06.945319214Z", "deletion_time": "", "destroyed": False}
SECRETS: dict[str, dict[str, Any]] = {
    "warehouse": {"current_version": 2, "versions": {"1": VERSION | {"destroyed": True}, "2": VERSION}},
    "team/deep": {"current_version": 1, "versions": {"1": VERSION}},
    "leaving": {"current_version": 1, "versions": {"1": VERSION | {"deletion_time": "2026-03-23T00:00:00Z"}}},
    "destroyed": {"current_version": 1, "versions": {"1": VERSION | {"destroyed": True}}},
    "ending": {"current_version": 1, "versions": {"1": VERSION | {"deletion_time": "2999-01-01T00:00:00Z"}}},
}


def _vault(asked: Asked) -> Told:
    """KV version 2 under `kv/` and `team/kv/`; the token may read metadata below `kv/metadata/` but not `locked`."""
    if asked.headers.get("X-Vault-Token") != TOKEN:
        return Told(403, {"errors": ["permission denied"]})
    if asked.path.startswith(("/v1/kv/data/", "/v1/team/kv/data/")):
        return Told(200, {"data": {"data": {"password": PLANTED}}})
    mount = next((each for each in ("/v1/team/kv/metadata/", "/v1/kv/metadata/") if asked.path.startswith(each)), "")
    name = asked.path.removeprefix(mount)
    special = {
        "locked": Told(403, {"errors": ["permission denied"]}),
        "busy": Told(429, {"errors": [PLANTED]}),
        "sealed": Told(503, {"errors": ["Vault is sealed"]}),
        "moved": Told(307, b"", {"Location": "http://127.0.0.1:9/v1/kv/metadata/x"}),
        "version1": Told(200, {"data": {"password": PLANTED}}),
        "text": Told(200, b"<html>", {"Content-Type": "text/html"}),
    }
    if not mount:
        return Told(404, {"errors": []})
    if name in special:
        return special[name]
    if name not in SECRETS:
        return Told(404, {"errors": []})
    common = {"max_versions": 5, "oldest_version": 1, "cas_required": False, "custom_metadata": {"note": PLANTED}}
    return Told(200, {"data": {**common, **SECRETS[name]}})


@pytest.fixture
def vaulted(settings: Any, tmp_path: Path) -> Iterator[Listener]:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with http(_vault) as listener:
        settings.VAULT_ADDR, settings.VAULT_TOKEN_FILE = listener.url("").rstrip("/"), str(tmp_path / "token")
        yield listener


@pytest.mark.parametrize(
    ("reference", "outcome"),
    [
        ("kv/data/warehouse", "verified"),
        ("kv/warehouse", "verified"),
        ("kv/metadata/warehouse#password", "verified"),
        ("team/kv/data/team/deep", "verified"),
        ("kv/data/ending", "verified"),
        ("kv/data/leaving", "deleted"),
        ("kv/data/destroyed", "deleted"),
        ("kv/data/nothing", "not_found"),
        ("kv/data/locked", "cannot_check"),
        ("kv/data/busy", "cannot_check"),
        ("kv/data/sealed", "cannot_check"),
        ("kv/data/moved", "cannot_check"),
        ("kv/data/version1", "cannot_check"),
        ("kv/data/text", "cannot_check"),
    ],
)
def test_what_vault_answers_becomes_an_outcome(vaulted: Listener, reference: str, outcome: str) -> None:
    seen = looked("vault", reference)
    assert seen.outcome == outcome, seen.detail
    assert PLANTED not in repr(seen)
    assert {each.method for each in vaulted.asked} == {"GET"} and len(vaulted.asked) == 1
    assert all("/metadata/" in each.path and "/data/" not in each.path for each in vaulted.asked)


@pytest.mark.parametrize(
    "reference",
    ["kv/metadata/../data/warehouse", "kv/./data/x", "kv/%2e%2e/data/x", "kv/data/a?list=true", "sys/mounts",
     "auth/token/lookup-self", "kv", "kv/data", "kv/data/a//b", "kv/data/a\\..\\b"],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_not_asked(vaulted: Listener, reference: str) -> None:
    assert looked("vault", reference).outcome == "cannot_check"
    assert vaulted.asked == []


def test_the_stub_would_give_the_value_away(vaulted: Listener) -> None:
    told = _vault(Asked("GET", "/v1/kv/data/warehouse", _with_token(vaulted), b""))
    assert PLANTED in json.dumps(told.body)


def _with_token(vaulted: Listener) -> Any:
    looked("vault", "kv/data/warehouse")
    return vaulted.asked[-1].headers


def test_a_version_of_vault_is_a_rotation(vaulted: Listener) -> None:
    seen = looked("vault", "kv/data/warehouse")
    assert seen.last_rotated_at == datetime(2026, 3, 22, 2, 24, 6, 945319, tzinfo=UTC)
    assert seen.facts["current_version"] == 2 and seen.facts["versions"] == 2


def test_a_wrong_or_missing_token_cannot_check(vaulted: Listener, settings: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("another")
    assert looked("vault", "kv/data/warehouse").outcome == "cannot_check"
    (tmp_path / "token").write_text("")
    assert "empty" in looked("vault", "kv/data/warehouse").detail
    settings.VAULT_TOKEN_FILE = str(tmp_path / "none")
    assert "cannot be read" in looked("vault", "kv/data/warehouse").detail


def test_the_namespace_is_sent(vaulted: Listener, settings: Any) -> None:
    settings.VAULT_NAMESPACE = "teams/data"
    looked("vault", "kv/data/warehouse")
    assert vaulted.asked[-1].headers["X-Vault-Namespace"] == "teams/data"


def test_vault_that_is_away_cannot_be_checked(vaulted: Listener, settings: Any) -> None:
    settings.VAULT_ADDR = "http://127.0.0.1:9"
    assert "could not be reached" in looked("vault", "kv/data/warehouse").detail


# --- Kubernetes: a server written for these tests ----------------------------------------------------------

METADATA = {
    "name": "reader",
    "namespace": "prod",
    "creationTimestamp": "2026-01-02T03:04:05Z",
    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"data": {"p": PLANTED}})},
    "labels": {"note": PLANTED},
    "managedFields": [
        {"manager": "kubectl", "time": "2026-02-03T04:05:06Z", "fieldsV1": {"f:data": {"f:p": {}}}},
        {"manager": "labels", "time": "2026-05-05T05:05:05Z", "fieldsV1": {"f:metadata": {}}},
    ],
}


def _api_server(asked: Asked) -> Told:
    """As the API server does: data, unless only the metadata is accepted."""
    name = asked.path.removeprefix("/api/v1/namespaces/prod/secrets/")
    if asked.headers.get("Authorization") != "Bearer account":
        return Told(401, {"kind": "Status"})
    if name in ("forbidden", "busy"):
        return Told(403 if name == "forbidden" else 429, {"kind": "Status"})
    if name == "old":  # does not understand what is accepted
        return Told(200, {"kind": "Secret", "metadata": METADATA, "data": {"p": PLANTED}})
    if name == "leaving":
        leaving = METADATA | {"deletionTimestamp": "2026-06-01T00:00:00Z"}
        return Told(200, {"kind": "PartialObjectMetadata", "metadata": leaving})
    if name != "reader":
        return Told(404, {"kind": "Status"})
    if asked.headers.get("Accept") != kubernetes.ACCEPT:
        return Told(200, {"kind": "Secret", "metadata": METADATA, "data": {"p": PLANTED}})
    return Told(200, {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": METADATA})


@pytest.fixture
def clustered(settings: Any, tmp_path: Path) -> Iterator[Listener]:
    (tmp_path / "token").write_text("account\n")
    with http(_api_server) as listener:
        settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
        settings.KUBERNETES_API_URL, settings.KUBERNETES_CA_FILE = listener.url(""), ""
        settings.KUBERNETES_TOKEN_FILE = str(tmp_path / "token")
        yield listener


@pytest.mark.parametrize(
    ("reference", "outcome"),
    [
        ("prod/reader", "verified"),
        ("prod/reader#password", "verified"),
        ("prod/leaving", "deleted"),
        ("prod/nothing", "not_found"),
        ("prod/forbidden", "cannot_check"),
        ("prod/busy", "cannot_check"),
        ("prod/old", "cannot_check"),
    ],
)
def test_what_kubernetes_answers_becomes_an_outcome(clustered: Listener, reference: str, outcome: str) -> None:
    seen = looked("kubernetes", reference)
    assert seen.outcome == outcome, seen.detail
    assert PLANTED not in repr(seen)
    (asked,) = clustered.asked
    assert asked.headers["Accept"] == "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


def test_the_last_write_of_data_is_told(clustered: Listener) -> None:
    seen = looked("kubernetes", "prod/reader")
    assert seen.last_changed_at == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert seen.last_rotated_at is None


@pytest.mark.parametrize("reference", ["prod/..", "../../pods/x", "prod/a/b", "prod/%2e", "Prod/x"])
def test_a_name_that_is_none_is_not_asked(clustered: Listener, reference: str) -> None:
    assert looked("kubernetes", reference).outcome == "cannot_check"
    assert clustered.asked == []


def test_an_address_that_is_not_allowed_is_not_asked(clustered: Listener, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = []
    assert looked("kubernetes", "prod/reader").outcome == "cannot_check"
    assert clustered.asked == []


# --- Nothing set up ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "variable"),
    [("aws_secrets_manager", "AWS_REGION"), ("vault", "VAULT_ADDR"), ("kubernetes", "KUBERNETES_API_URL")],
)
def test_without_access_it_says_what_to_set(kind: str, variable: str, settings: Any) -> None:
    settings.AWS_REGION = settings.VAULT_ADDR = settings.KUBERNETES_API_URL = ""
    seen = looked(kind, "a/b")
    assert seen.outcome == "cannot_check" and variable in seen.detail
    assert stores.connected() == []


@pytest.mark.parametrize(
    ("kind", "variable"), [("vault", "VAULT_ADDR"), ("aws_secrets_manager", "AWS_ENDPOINT_URL_SECRETS_MANAGER")]
)
def test_the_proxy_of_other_requests_is_theirs_too(
    kind: str, variable: str, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("token")
    settings.AWS_REGION, settings.VAULT_TOKEN_FILE = "eu-central-1", str(tmp_path / "token")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    setattr(settings, variable, "http://store.example")
    aws._client.cache_clear()
    with http(lambda asked: Told(404, {"__type": "ResourceNotFoundException", "errors": []})) as proxy:
        settings.OUTBOUND_PROXY = proxy.url("")
        assert looked(kind, "kv/data/x").outcome == "not_found"
        assert [each.path.split("/")[2] for each in proxy.asked] == ["store.example"]
    aws._client.cache_clear()


def test_other_kinds_are_attested(settings: Any) -> None:
    assert "attests" in looked("file", "/etc/x").detail
    assert vault.missing()
