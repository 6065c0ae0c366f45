"""server.json. Three generations are in use, and public files mix them:

- legacy (the seed of May 2025): snake_case, `version_detail.version`, `registry_name`, `transport_type`, no `$schema`;
- middle (2025-07-09): snake_case, `registry_type`, `identifier`, `version_detail`;
- current (2025-09-16 on): camelCase, `registryType`, `transport` on each package, `version` at the top.

A field is read under any of its spellings; only the current generation must name each package's transport.
Values, defaults and examples are looked at for secrets and never kept.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from registry.catalog.services import EndpointFacts, InputFacts
from registry.discovery.entries import Entry, Refusal
from registry.discovery.formats.reading import (
    KNOWN_REGISTRIES,
    TRANSPORTS,
    Reading,
    declared_input,
    merged,
    pick,
)

LEGACY, MIDDLE, CURRENT = "legacy", "2025-07", "current"
DESCRIPTION_OF_SCHEMA = 100
# Without these the entry is not that entry, so a secret in one of them cannot be left out.
IDENTITY = (
    "name", "version", "version_detail.version", "websiteUrl", "website_url", "repository.url",
    "packages.*.identifier", "packages.*.name", "packages.*.version", "packages.*.transport.url", "remotes.*.url",
)  # fmt: skip
_SHA256 = re.compile(r"[a-f0-9]{64}")
_REGISTRY = re.compile(r"[a-z][a-z0-9-]{0,19}")
_IMAGE_TEMPLATE_TAG = re.compile(r":[^/]*\$\{[^}]*\}[^/]*$")
_VARIABLE = re.compile(r"\{([A-Za-z_][\w-]*)\}")


def looks_like(raw: Mapping[str, Any]) -> bool:
    """Whether an object means to be a server.json, however broken."""
    return not raw.keys().isdisjoint(("name", "packages", "remotes", "version_detail"))


def generation_of(raw: Mapping[str, Any]) -> str:
    schema = raw.get("$schema")
    if "version_detail" in raw:
        return MIDDLE if isinstance(schema, str) or "_meta" in raw else LEGACY
    if isinstance(schema, str) and "2025-07" in schema:
        return MIDDLE
    packages = raw.get("packages")
    first = packages[0] if isinstance(packages, list) and packages else {}
    snake = isinstance(first, Mapping) and not first.keys().isdisjoint(("registry_name", "registry_type"))
    return LEGACY if snake else CURRENT


def read(raw: Mapping[str, Any]) -> Entry | Refusal:
    reading = Reading(raw, generation_of(raw))
    reading.look_for_secrets(raw, IDENTITY)
    reading.server_name(reading.text(raw, "name"))
    for path, package in reading.listed(raw, "packages"):
        _read_package(reading, path, package)
    for path, remote in reading.listed(raw, "remotes"):
        _read_remote(reading, path, remote)
    description = reading.prose(raw, "description", limit="description")
    if not description:
        reading.note("description", "is empty")
    elif len(description) > DESCRIPTION_OF_SCHEMA:
        reading.note("description", f"is longer than the {DESCRIPTION_OF_SCHEMA} characters of the schema; kept")
    return reading.result(
        title=reading.prose(raw, "title", limit="title"),
        description=description,
        release=_read_release(reading, raw),
        website_url=reading.page(raw, "websiteUrl", "website_url"),
        repository_url=reading.page(raw.get("repository"), "url", path="repository"),
    )


def _read_release(reading: Reading, raw: Mapping[str, Any]) -> str:
    top, _ = pick(raw, "version")
    nested = raw.get("version") is None and isinstance(raw.get("version_detail"), Mapping)
    holder, path = (raw["version_detail"], "version_detail.version") if nested else (raw, top)
    version = reading.text(holder, "version", path="version_detail" if nested else "", limit="release")
    if not version:
        reading.note(path, "is empty")
    return reading.release(version, path)


def _read_package(reading: Reading, path: str, package: Mapping[str, Any]) -> None:
    registry = _read_registry(reading, path, package)
    key, _ = pick(package, "identifier", "name")
    identifier = reading.text(package, "identifier", "name", path=path, limit="identifier", required=True)
    if re.search(r"\s", identifier):
        reading.refuse(f"{path}.{key}", "must not contain spaces")
    if registry == "oci" and _IMAGE_TEMPLATE_TAG.search(identifier):
        reading.note(f"{path}.{key}", "has a tag that is a template nobody filled in; the image is not pinned")
        identifier = _IMAGE_TEMPLATE_TAG.sub("", identifier)
    version = reading.text(package, "version", path=path, limit="release")
    version = reading.release(version, f"{path}.version")
    pinned_by_tag = registry == "oci" and (":" in identifier.rpartition("/")[2] or "@" in identifier)
    if not version and not pinned_by_tag and registry != "mcpb":
        reading.note(f"{path}.version", "is empty, so the package is not pinned")
    sha256 = reading.text(package, "fileSha256", "file_sha256", path=path)
    if sha256 and not _SHA256.fullmatch(sha256):
        reading.refuse(f"{path}.fileSha256", "must be 64 lower-case hexadecimal digits")
    elif registry == "mcpb" and not sha256:
        reading.note(f"{path}.fileSha256", "is missing, so the bundle is not pinned")
    facts: EndpointFacts = {
        "transport": _read_transport(reading, path, package),
        "package_registry": registry,
        "package_identifier": identifier,
        "package_version": version,
        "package_sha256": sha256,
        "inputs": merged(
            _read_inputs(reading, package, path, "environment", "environmentVariables", "environment_variables"),
            _read_inputs(reading, package.get("transport"), f"{path}.transport", "header", "headers"),
            _read_arguments(reading, package, path, "runtimeArguments", "runtime_arguments"),
            _read_arguments(reading, package, path, "packageArguments", "package_arguments"),
        ),
    }
    reading.add_package(path, facts)


def _read_registry(reading: Reading, path: str, package: Mapping[str, Any]) -> str:
    """The kind of package registry; empty when its publisher does not know it either."""
    key, _ = pick(package, "registryType", "registry_type", "registry_name")
    registry = reading.text(
        package, "registryType", "registry_type", "registry_name", path=path, required=reading.generation == CURRENT
    ).lower()
    registry = "oci" if registry == "docker" else registry
    if registry in ("", "unknown"):
        reading.note(f"{path}.{key}", "does not say which registry holds the package")
        return ""
    if not _REGISTRY.fullmatch(registry):
        reading.refuse(f"{path}.{key}", "is not the name of a package registry")
        return ""
    if registry not in KNOWN_REGISTRIES:
        reading.note(f"{path}.{key}", "is not a registry this format knows")
    return registry


def _read_transport(reading: Reading, path: str, package: Mapping[str, Any]) -> str:
    transport = package.get("transport")
    if transport is None:
        if reading.generation == CURRENT:
            reading.refuse(f"{path}.transport", "is missing")
        return "stdio"
    kind = reading.text(transport, "type", path=f"{path}.transport", required=True)
    if kind and kind not in TRANSPORTS:
        reading.refuse(f"{path}.transport.type", "must be stdio, streamable-http or sse")
    return TRANSPORTS.get(kind, "stdio")


def _read_remote(reading: Reading, path: str, remote: Mapping[str, Any]) -> None:
    key, _ = pick(remote, "type", "transport_type")
    kind = reading.text(remote, "type", "transport_type", path=path, required=reading.generation == CURRENT)
    url = reading.text(remote, "url", path=path, limit="url", required=True)
    transport = TRANSPORTS.get(kind, "")
    if not kind:
        transport = "sse" if url.partition("?")[0].rstrip("/").endswith("/sse") else "streamable-http"
        reading.note(f"{path}.{key}", f"is empty; taken as {transport} from the address")
    elif transport in ("", "stdio"):
        reading.refuse(f"{path}.{key}", "must be streamable-http or sse")
        return
    inputs = merged(
        _read_inputs(reading, remote, path, "header", "headers"),
        _read_variables(remote, "url"),
        (declared_input(name, "url", required=True) for name in _VARIABLE.findall(url)),
    )
    reading.add_remote(path, transport, url, inputs)


def _read_inputs(reading: Reading, holder: Any, path: str, placed_in: str, *keys: str) -> Iterator[InputFacts]:
    for where, each in reading.listed(holder, *keys, path=path):
        name = reading.text(each, "name", path=where, required=reading.generation == CURRENT)
        if name:
            yield _declared(each, name, placed_in)
        yield from _read_variables(each, placed_in)


def _read_arguments(reading: Reading, holder: Mapping[str, Any], path: str, *keys: str) -> Iterator[InputFacts]:
    for where, each in reading.listed(holder, *keys, path=path):
        kind = reading.text(each, "type", path=where, required=reading.generation == CURRENT)
        if kind == "named":
            # Legacy entries write the value behind the flag: "--token abc".
            flag = reading.text(each, "name", path=where, required=reading.generation == CURRENT)
            flag = re.split(r"[\s=]", flag, maxsplit=1)[0]
            if flag and (reading.generation != CURRENT or each.get("value") is None):
                yield _declared(each, flag, "argument")
        elif kind == "positional" and reading.generation == CURRENT:
            hint = reading.text(each, "valueHint", path=where)
            if not hint and each.get("value") is None:
                reading.refuse(where, "a positional argument needs a value or a valueHint")
            elif hint and each.get("value") is None:
                yield _declared(each, hint, "argument")
        elif kind not in ("named", "positional", ""):
            reading.refuse(f"{where}.type", "must be positional or named")
        yield from _read_variables(each, "argument")


def _read_variables(holder: Mapping[str, Any], placed_in: str) -> Iterator[InputFacts]:
    variables = holder.get("variables")
    if isinstance(variables, Mapping):
        for name, each in variables.items():
            if isinstance(each, Mapping):
                yield _declared(each, str(name), placed_in)


def _declared(each: Mapping[str, Any], name: str, placed_in: str) -> InputFacts:
    return declared_input(
        name,
        placed_in,
        required=pick(each, "isRequired", "is_required")[1] is True,
        secret=pick(each, "isSecret", "is_secret")[1] is True,
    )
