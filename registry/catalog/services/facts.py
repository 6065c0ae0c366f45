"""Shapes of what callers hand in, and how an endpoint and a tool are named."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Literal, NamedTuple, TypedDict
from urllib.parse import urlsplit, urlunsplit

from registry.catalog.models import (
    Server,
)
from registry.core.canonical import digest


class InputFacts(TypedDict, total=False):
    """A declared environment variable, header or argument; never its value."""

    name: str
    placed_in: str
    required: bool
    secret: bool


class EndpointFacts(TypedDict, total=False):
    transport: str
    url: str
    package_registry: str
    package_identifier: str
    package_version: str
    package_sha256: str
    inputs: Sequence[InputFacts]


class ToolFacts(TypedDict, total=False):
    name: str
    title: str
    description: str
    definition: Mapping[str, Any]
    claimed_class: str
    confirmed_class: str


class ObservedTool(TypedDict):
    """A tool as a server listed it. `digest` is of the raw definition, the texts are what may be stored and shown."""

    name: str
    title: str
    description: str
    definition: Mapping[str, Any]
    digest: str
    claimed_class: str


class SecretSourceFacts(TypedDict, total=False):
    kind: str
    reference: str
    name: str
    credential_type: str
    max_lifetime_seconds: int | None
    rotation_interval_days: int | None
    last_rotated_on: date | None
    revocable_by: str
    reason: str


REFERENCE_FORMS: dict[str, tuple[str, str]] = {
    "vault": (r"[^\s/]+(/[^\s/]+)+", "kv/data/warehouse-sql"),
    "aws_secrets_manager": (r"arn:\S+:\S+|[^\s/]+(/[^\s/]+)+", "prod/warehouse or the secret's ARN"),
    "azure_key_vault": (r"https://[^\s/]+/secrets/\S+|[^\s/]+/[^\s/]+", "vault-name/secret-name"),
    "gcp_secret_manager": (r"projects/[^\s/]+/secrets/\S+", "projects/warehouse/secrets/reader"),
    "kubernetes": (r"[a-z0-9.-]+/[a-z0-9.-]+(#\S+)?", "namespace/secret-name"),
    "workload_identity": (
        r"spiffe://\S+|arn:\S+|[^\s@]+@[^\s@]+\.[a-z]+|[^\s/]+(/[^\s/]+)+",
        "spiffe://example.org/mcp/warehouse",
    ),
    "oauth_client": (r"https://\S+|[^\s/]+(/[^\s/]+)+", "issuer/client-id"),
    "prompted": (r"(input|prompt):\S+", "input:api-key"),
    "environment": (r"([\w.-]+:)?[A-Z_][A-Z0-9_]*", "DB_PASSWORD or host:DB_PASSWORD"),
    "file": (r"(\w+:)?[~.]?[/\\]\S+|\S+:[/\\]\S+", "/etc/warehouse/token"),
}
"""What names a place, per kind of source, and an example. A bare word may be a password; a place has a shape."""


class StepFacts(TypedDict, total=False):
    instruction: str
    executor: str
    responsible: str
    expected_minutes: int


class ImportOutcome(NamedTuple):
    outcome: Literal["imported", "updated", "skipped"]
    server: Server
    reasons: list[str]


def canonical_url(url: str) -> str:
    """Lower-case scheme and host, no fragment, no trailing slash (RFC 8707, MCP authorization).

    The query stays: it selects tools and tenants on real servers.
    """
    parts = urlsplit(url.strip())
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path.rstrip("/"), parts.query, ""))


def canonical_uri(endpoint: EndpointFacts) -> str:
    """What logs and gateways name: the canonical URL, or `npm:@scope/name@1.2.3`."""
    if endpoint.get("url"):
        return canonical_url(endpoint["url"])
    version = endpoint.get("package_version", "")
    registry = endpoint.get("package_registry", "") or "package"
    return f"{registry}:{endpoint.get('package_identifier', '')}" + (f"@{version}" if version else "")


def tool_digest(tool: ToolFacts) -> str:
    """SHA-256 over the canonical JSON of what a caller is shown of the tool (`_meta` and icons stay out)."""
    definition = tool.get("definition") or {}
    shown = {key: definition[key] for key in ("inputSchema", "outputSchema", "annotations") if key in definition}
    return digest(
        {
            "name": tool["name"],
            "title": tool.get("title", ""),
            "description": tool.get("description", ""),
            **shown,
        }
    )
