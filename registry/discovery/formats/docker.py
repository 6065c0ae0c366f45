"""Docker's MCP catalogue: a `server.yaml` per server, sometimes with the `tools.json` that was listed.

The catalogue's short names are not reverse-DNS, so a name is derived from who stands behind the source:
`io.github.<owner>/<short name>` when the source is on GitHub, else `com.docker.mcp/<short name>`. The short name is
kept rather than the repository's: one repository (awslabs/mcp) holds many servers, and what is published here is
Docker's image of it. A `poci` bundle is a set of containers, not an MCP server, and is skipped.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import yaml

from registry.catalog.services import InputFacts, ToolFacts
from registry.core.secrets import redact
from registry.discovery.entries import Entry, Refusal
from registry.discovery.formats.bounds import Beyond, check_yaml
from registry.discovery.formats.reading import (
    TRANSPORTS,
    Reading,
    claimed_class,
    cleaned,
    declared_input,
    merged,
    storable,
    texts,
)

GENERATION = "docker"
IDENTITY = ("name", "image", "source.project", "remote.url")
_SHORT_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
MOST_BITS = 1024
"""Python writes no number that is much longer."""
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}")


def load_yaml(text: str) -> Any:
    """The document as JSON types. Raises `Beyond`, and `ValueError` for what is not YAML, without quoting it."""
    try:
        check_yaml(text)
        return _plain(yaml.load(text, Loader=yaml.CSafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise ValueError("is not YAML that can be read") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(inner) for inner in value]
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise ValueError("a number is too long")
    return value if value is None or isinstance(value, str | int | float) else str(value)


def looks_like(raw: Mapping[str, Any]) -> bool:
    return "server_yaml" in raw or ("about" in raw and "type" in raw and "name" in raw)


def read_row(row: Mapping[str, Any]) -> Entry | Refusal:
    """`{"path", "server_yaml", "tools_json"?}`, both as text, or the parsed server.yaml itself."""
    if "server_yaml" not in row:
        return read(row, None)
    text = row["server_yaml"]
    try:
        raw = load_yaml(text) if isinstance(text, str) else text
    except (ValueError, Beyond) as error:
        return Refusal("", {"server_yaml": [str(error)]})
    if not isinstance(raw, Mapping):
        return Refusal("", {"server_yaml": ["must be an object"]})
    return read(raw, row.get("tools_json"))


def read(raw: Mapping[str, Any], tools: Any) -> Entry | Refusal:
    reading = Reading(raw, GENERATION)
    reading.look_for_secrets(raw, IDENTITY)
    if raw.get("type") == "poci":
        reading.pass_over("type", "is a bundle of containers (poci), not an MCP server")
    repository = reading.page(raw.get("source"), "project", path="source")
    reading.server_name(_name(reading, repository))
    about = raw.get("about")
    release = _read_image(reading, raw)
    _read_remote(reading, raw)
    _read_tools(reading, tools)
    description = reading.prose(about, "description", path="about", limit="description")
    if not description:
        reading.note("about.description", "is empty")
    return reading.result(
        title=reading.prose(about, "title", path="about", limit="title"),
        description=description,
        release=release,
        repository_url=repository,
    )


def _name(reading: Reading, repository: str) -> str:
    short = reading.text(reading.raw, "name")
    if not _SHORT_NAME.fullmatch(short):
        return ""
    parts = urlsplit(repository)
    owner = parts.path.strip("/").partition("/")[0]
    if parts.hostname in ("github.com", "www.github.com") and _OWNER.fullmatch(owner):
        return f"io.github.{owner.lower()}/{short}"
    return f"com.docker.mcp/{short}"


def _read_image(reading: Reading, raw: Mapping[str, Any]) -> str:
    """Add the image, and return its tag as the release; `latest` says nothing."""
    image = reading.text(raw, "image", limit="identifier")
    if not image:
        return ""
    if re.search(r"\s", image):
        reading.refuse("image", "must not contain spaces")
        return ""
    _, _, last = image.rpartition("/")
    tag = last.partition("@")[0].partition(":")[2]
    if tag == "latest":
        image, tag = image.removesuffix(":latest"), ""
    if not tag and "@" not in last:
        reading.note("image", "has no tag, so it is not pinned")
    facts = {"transport": "stdio", "package_registry": "oci", "package_identifier": image}
    reading.add_package("image", {**facts, "inputs": _read_config(reading, raw)})  # type: ignore[typeddict-item]
    return tag


def _read_remote(reading: Reading, raw: Mapping[str, Any]) -> None:
    remote = raw.get("remote")
    if remote is None:
        return
    kind = reading.text(remote, "transport_type", path="remote", required=True)
    url = reading.text(remote, "url", path="remote", limit="url", required=True)
    transport = TRANSPORTS.get(kind, "")
    if transport in ("", "stdio"):
        reading.refuse("remote.transport_type", "must be streamable-http or sse")
        return
    headers = remote.get("headers") if isinstance(remote, Mapping) else None
    names = headers if isinstance(headers, Mapping) else ()
    asked = [declared_input(str(name), "header", required=True) for name in names]
    reading.add_remote("remote", transport, url, merged(asked, _read_config(reading, raw)))


def _read_config(reading: Reading, raw: Mapping[str, Any]) -> list[InputFacts]:
    """What the catalogue asks of its user: secrets and variables by environment name, OAuth sign-ins."""
    config = raw.get("config")
    secrets = [
        declared_input(name, "environment", required=each.get("required") is not False, secret=True)
        for path, each in reading.listed(config, "secrets", path="config")
        if (name := reading.text(each, "env", "name", path=path))
    ]
    variables = [
        declared_input(name, "environment", required=each.get("required") is True)
        for path, each in reading.listed(config, "env", path="config")
        if (name := reading.text(each, "name", "env", path=path))
    ]
    signed_in = [
        declared_input(name, "environment", secret=True)
        for path, each in reading.listed(raw, "oauth")
        if (name := reading.text(each, "env", path=path))
    ]
    return merged(secrets, variables, signed_in)


def _read_tools(reading: Reading, tools: Any) -> None:
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except (ValueError, RecursionError):
            reading.note("tools_json", "is not JSON and was left out")
            return
    if tools is None:
        return
    if not isinstance(tools, list):
        reading.note("tools_json", "is not a list and was left out")
        return
    reading_of_tools = Reading({}, GENERATION)
    reading_of_tools.look_for_secrets(tools, ())
    for found in reading_of_tools.notes:
        reading.note("", f"tools_json.{found}")
    for index, tool in enumerate(tools):
        path = f"tools_json.{index}"
        if not isinstance(tool, Mapping) or not isinstance(tool.get("name"), str):
            reading.note(path, "has no usable name and was left out")
            continue
        reading.add_tool(path, tool_facts(tool))


def tool_facts(tool: Mapping[str, Any]) -> ToolFacts:
    """A tool as it was listed, secrets blanked out; Docker's flat `arguments` become the schema they stand for."""
    definition = {key: tool[key] for key in ("inputSchema", "outputSchema", "annotations") if key in tool}
    if "inputSchema" not in definition and isinstance(tool.get("arguments"), list):
        definition["inputSchema"] = _schema_of(tool["arguments"])
    annotations = definition.get("annotations")
    return {
        "name": _prose(tool.get("name")).strip(),
        "title": _prose(tool.get("title"))[:200],
        "description": _prose(tool.get("description")),
        "definition": cleaned(definition) if all(map(storable, texts(definition))) else {},
        "claimed_class": claimed_class(annotations),
    }


def _schema_of(arguments: list[Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required = []
    for each in arguments:
        if isinstance(each, Mapping) and isinstance(each.get("name"), str):
            described = {"type": each.get("type", "string"), "description": each.get("desc", each.get("description"))}
            properties[each["name"]] = {key: value for key, value in described.items() if value is not None}
            if each.get("optional") is not True:
                required.append(each["name"])
    return {"type": "object", "properties": properties, "required": required}


def _prose(value: Any) -> str:
    return redact(value) if isinstance(value, str) and storable(value) else ""
