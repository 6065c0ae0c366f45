"""Small published entries of every generation and oddity, made for these tests after the shapes of real ones."""

import json
from pathlib import Path
from typing import Any

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "official-registry"
"""The real corpora, where the data lies beside the repository."""

PASSWORD = "Tr0ub4dor-Xk9"
TOKEN = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"
AWS_KEY = "AKIA" + "QWERTYUIOPASDFGH"
PLANTED = (PASSWORD, TOKEN, AWS_KEY)


def current(**facts: Any) -> dict[str, Any]:
    return {
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": "com.example/weather",
        "title": "Weather",
        "description": "Forecasts for places.",
        "version": "1.2.0",
        "websiteUrl": "https://weather.example.test/docs",
        "repository": {"url": "https://github.com/example/weather", "source": "github"},
        "packages": [
            {
                "registryType": "npm",
                "identifier": "@example/weather-mcp",
                "version": "1.2.0",
                "transport": {"type": "stdio"},
                "environmentVariables": [{"name": "WEATHER_API_KEY", "isRequired": True, "isSecret": True}],
            }
        ],
        "remotes": [
            {
                "type": "streamable-http",
                "url": "https://MCP.Example.test/Weather/?tools=forecast,alerts",
                "headers": [{"name": "Authorization", "isRequired": True}],
            }
        ],
    } | facts


def middle(**facts: Any) -> dict[str, Any]:
    return {
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-07-09/server.schema.json",
        "name": "com.example/search",
        "description": "Searches the web.",
        "version_detail": {"version": "1.0.2"},
        "packages": [
            {
                "registry_type": "pypi",
                "identifier": "example-search",
                "version": "1.0.2",
                "environment_variables": [{"name": "SEARCH_TOKEN", "is_required": True, "is_secret": True}],
            }
        ],
        "remotes": [{"transport_type": "sse", "url": "https://search.example.test/sse"}],
    } | facts


def legacy(**facts: Any) -> dict[str, Any]:
    return {
        "id": "0f0e",
        "name": "io.github.example/files",
        "description": "",
        "repository": {"url": "https://github.com/example/files", "source": "github", "id": "1"},
        "version_detail": {"version": "0.0.1-seed", "release_date": "2025-05-16", "is_latest": True},
        "packages": [
            {
                "registry_name": "unknown",
                "name": "files-mcp",
                "version": "",
                "package_arguments": [
                    {
                        "type": "named",
                        "name": f"--token {TOKEN}",
                        "value": f"--token {TOKEN}",
                        "default": f"--token {TOKEN}",
                        "value_hint": TOKEN,
                        "format": "string",
                        "description": "",
                    }
                ],
                "environment_variables": [{"name": "FILES_PASSWORD", "description": ""}],
            }
        ],
    } | facts


DOCKER_YAML = f"""
name: warehouse
image: mcp/warehouse:2.1.0
type: server
about:
  title: Warehouse
  description: |
    Stock of the warehouse. Example call uses PASSWORD={PASSWORD} as of old.
source:
  project: https://github.com/Example-Labs/mcp
config:
  secrets:
    - name: warehouse.password
      env: WAREHOUSE_PASSWORD
      example: {PASSWORD}
  env:
    - name: AWS_ACCESS_KEY_ID
      example: {AWS_KEY}
      value: "{{{{warehouse.key_id}}}}"
"""

_FLAT = [{"name": "x", "type": "string", "desc": "X"}]
DOCKER_TOOLS = [
    {
        "name": "list_stock",
        "description": "Lists stock.",
        "inputSchema": {"type": "object", "properties": {"token": {"type": "string"}}},
        "annotations": {"readOnlyHint": True},
    },
    {"name": "drop", "description": "Drops.", "annotations": {"destructiveHint": True}},
    {"name": "move", "description": "Moves.", "annotations": {"destructiveHint": False}},
    {
        "name": "plain",
        "description": f"Say password={PASSWORD}.",
        "arguments": [{"name": "x", "type": "string", "desc": "X"}],
    },
    {"name": "move", "description": "Again."},
    {"description": "nameless"},
]


def docker_row(**facts: Any) -> dict[str, Any]:
    return {
        "path": "servers/warehouse",
        "server_yaml": DOCKER_YAML,
        "tools_json": json.dumps(DOCKER_TOOLS),
    } | facts


POCI_YAML = """
name: ffmpeg
type: poci
about: {title: FFmpeg, description: Containers.}
tools: [{name: convert, container: {image: example/ffmpeg}}]
"""


def collection() -> list[dict[str, Any]]:
    """Every outcome in one list: two releases of one server, a duplicate, what is refused and what is passed over."""
    return [
        {"source": {"repo": "example/x"}, "entry": current()},
        {"source": {"repo": "example/x"}, "entry": current(version="1.3.0", description="Forecasts and alerts.")},
        {"source": {"repo": "example/x"}, "entry": current(version="1.1.0")},
        middle(),
        legacy(),
        legacy(name="", packages=[]),
        current(name="no-slash"),
        docker_row(),
        {"path": "servers/ffmpeg", "server_yaml": POCI_YAML},
    ]
