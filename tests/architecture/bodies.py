"""A body for every operation that takes one, so that it gets as far as the question who may.

REST bodies follow from the schema: what is required, filled by name where a thing of the world is meant and by type
elsewhere. Forms get one dictionary for all, for they ignore what they do not know.
"""

import re
from datetime import timedelta
from typing import Any

from drf_spectacular.generators import SchemaGenerator

from registry.accounts.models import User
from registry.catalog.models import Server
from registry.core import clock
from registry.core.ids import new_id
from tests import factories as make

Schema = dict[str, Any]
SCIM = "urn:ietf:params:scim"


class Bodies:
    def __init__(self, known: dict[str, dict[str, Any]]) -> None:
        self._world = field_values(known)
        self._special = special_bodies(known)
        self._schema: Schema = SchemaGenerator().get_schema(request=None, public=True)
        self._paths = [
            (re.compile(re.sub(r"\{[^}]+\}", "[^/]+", template) + "$"), operations)
            for template, operations in self._schema["paths"].items()
        ]

    def of(self, name: str, path: str, method: str) -> Any:
        """The form's dictionary, or what the schema asks of a REST address, corrected by `special_bodies`."""
        if method == "GET":
            return {}
        special = self._special.get(f"{name} {method}", {})
        if not path.startswith(("/api/", "/scim/")):
            return self._world | special
        if isinstance(special, list):
            return special
        made = self._of_operation(path, method)
        return made | special if isinstance(made, dict) else made

    def _of_operation(self, path: str, method: str) -> Any:
        asked = (each.get(method.lower()) for to, each in self._paths if to.match(path))
        content = next((each for each in asked if each), {}).get("requestBody", {}).get("content", {})
        schema = next((content[kind]["schema"] for kind in content if "json" in kind), None)
        return self._example(schema, "") if schema else {}

    def _example(self, schema: Schema, name: str) -> Any:
        if "$ref" in schema:
            schema = self._schema["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if name in self._world:
            return self._world[name]
        for union in ("oneOf", "anyOf", "allOf"):
            if union in schema:
                return self._example(schema[union][0], name)
        if "enum" in schema:
            return next(value for value in schema["enum"] if value)
        kinds = schema.get("type", "object")
        kind = kinds if isinstance(kinds, str) else next(each for each in kinds if each != "null")
        if kind == "object":
            wanted = schema.get("required", [])
            known = {key for key in schema.get("properties", {}) if key in self._world}
            return {key: self._example(schema["properties"][key], key) for key in sorted({*wanted, *known})}
        if kind == "array":
            return [self._example(schema.get("items", {}), name)] if schema.get("minItems") else []
        return self._scalar(kind, schema)

    def _scalar(self, kind: str, schema: Schema) -> Any:
        soon = clock.now() + timedelta(days=30)
        formats = {
            "uuid": str(new_id()),
            "date": str(soon.date()),
            "date-time": soon.isoformat(),
            "email": "somebody@example.test",
            "uri": "https://something.example.test/mcp",
        }
        if kind == "string":
            return formats.get(schema.get("format", ""), "Because it is needed.")
        return {"boolean": True, "integer": schema.get("minimum", 1), "number": 1.0}[kind]


def field_values(known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What fields of that name get, in forms and REST bodies alike: things of the world, and words of people."""
    server = Server.objects.get(pk=known["catalog"]["pk"])
    somebody, another = make.person(), make.person()
    source, tool = make.source_of(server), server.tools.all()[0]
    soon = str(clock.today() + timedelta(days=30))
    ids = {
        "server": server, "agent": known["api:agent"]["pk"], "system": known["api:system"]["pk"],
        "secret_source": source, "source": source, "purpose": server.purpose, "owner": somebody, "deputy": another,
        "user": somebody, "reviewer": another, "delegate": another, "campaign": known["reviews"]["pk"],
        "template": known["api:template"]["pk"], "item": known["api:item"]["pk"],
        "remediation": known["api:remediation"]["pk"], "team": known["api:team"]["pk"], "successor": another,
    }  # fmt: skip
    words = {
        "reason": "The month-end closing needs it.", "comment": "Looked at every tool of it.", "name": "Something new",
        "decision": "certify", "value": "certify", "tools": [tool.name], "all_tools": False, "tier": "high",
        "valid_until": soon, "until": soon, "expires_on": soon, "due_at": soon, "lead": "", "slug": "something-new",
        "email": "new@example.test", "roles": ["member"], "days": 30, "scopes": ["catalog:read"], "active": "false",
        "access": "read", "on_behalf_of": "itself", "statement": "Seen in the console.", "answers": [],
    }  # fmt: skip
    return words | {name: str(getattr(thing, "pk", thing)) for name, thing in ids.items()}


def special_bodies(known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """`name method` → what the values by field name do not get right."""
    server = Server.objects.get(pk=known["catalog"]["pk"])
    reviewer, today = User.objects.get(pk=known["accounts:person"]["pk"]), clock.today()
    person = {"schemas": [f"{SCIM}:schemas:core:2.0:User"], "userName": "nina", "emails": [{"value": "n@example.test"}]}
    group = {"schemas": [f"{SCIM}:schemas:core:2.0:Group"], "displayName": "Operations"}
    patch = {
        "schemas": [f"{SCIM}:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": "externalId", "value": "x1"}],
    }
    principal = {
        "issuer": str(known["api:workload-issuer"]["pk"]), "team": None, "subject": "repo:example/warehouse:main",
        "owner": str(reviewer.pk), "claims": {}, "networks": [], "audience": "",
    }  # fmt: skip
    successor = make.person("reviewer")
    return {
        "scim:users POST": person,
        "scim:user PUT": person,
        "scim:user PATCH": patch,
        "scim:groups POST": group,
        "scim:group PUT": group,
        "scim:group PATCH": patch,
        "api:agent-list POST": {"server": None, "spiffe_id": "spiffe://example.test/agents/new", "kind": "ai_agent"},
        "api:agent-detail PATCH": {"server": None, "kind": "ai_agent"},
        "api:service-principal-list POST": principal,
        "api:service-principal-detail PATCH": {"team": None, "name": "Another name"},
        "api:grant-list POST": {"on_behalf_of": "nobody", "agent": str(make.agent().pk)},
        "api:delegation-list POST": {
            "delegator": str(reviewer.pk), "delegate": str(successor.pk),
            "starts_on": str(today + timedelta(days=20)), "ends_on": str(today + timedelta(days=25)),
        },
        "api:server-list POST": {"name": "com.example/brand-new", "endpoints": []},
        "api:server-tools PUT": {"tools": [{"name": "read_stock", "description": "Reads."}]},
        "api:server-snapshots POST": {"outcome": "unreachable", "listing": None},
        "api:import-list POST": {"entries": [{"name": "com.example/imported"}]},
        "api:sighting-list POST": {"client": "cursor", "sightings": []},
        "api:proposal-list POST": {"vacancies": [str(known["api:vacancy"]["pk"])], "successor": str(successor.pk)},
        "api:item-hand-over POST": {"to": str(successor.pk)},
        "api:campaign-assign-reviewer POST": {"to": str(successor.pk)},
        "api:remediation-observe POST": {"source": "registry"},
        **{
            f"api:automatic-action-{act} POST": {"actions": [str(known["api:automatic-action"]["pk"])]}
            for act in ("release", "decline")
        },
        "api:review-trigger-list POST": {"kind": "server", "subject": str(server.pk)},
    }  # fmt: skip
