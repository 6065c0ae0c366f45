"""A body for every operation that takes one, so that it gets as far as the question who may.

REST bodies follow from the schema: what is required, filled by name where a thing of the world is meant and by type
elsewhere. Forms get one dictionary for all, for they ignore what they do not know.
"""

import json
import re
from datetime import timedelta
from typing import Any

from drf_spectacular.generators import SchemaGenerator

from registry.accounts.models import User
from registry.catalog.models import Agent, Server, System
from registry.core import clock
from registry.core.ids import new_id
from registry.discovery.models import Drift
from registry.reviews.facts import evidence_of
from registry.reviews.models import Decision, Item, WorkItem
from registry.reviews.services.items import review_version
from registry.trust.queries.feed import beginning
from tests import factories as make
from tests.architecture.principals import IF_MATCH

Schema = dict[str, Any]
ABSENT = object()
"""For what the schema names and this request does not say."""
SCIM = "urn:ietf:params:scim"


class Bodies:
    def __init__(self, known: dict[str, dict[str, Any]]) -> None:
        self._world, self._typed = field_values(known), typed_values(known)
        self._special = special_bodies(known) | page_bodies(known)
        self._schema: Schema = SchemaGenerator().get_schema(request=None, public=True)
        self._paths = [
            (re.compile(re.sub(r"\{[^}]+\}", "[^/]+", template) + "$"), operations)
            for template, operations in self._schema["paths"].items()
        ]

    def of(self, name: str, path: str, method: str) -> Any:
        """The form's dictionary, or what the schema asks of a REST address, corrected by `special_bodies`."""
        special = self._special.get(f"{name} {method}", {})
        if method == "GET":
            return special
        if not path.startswith(("/api/", "/scim/")):
            return self._world | self._typed | special
        if isinstance(special, list):
            return special
        made = self._of_operation(path, method)
        if not isinstance(made, dict):
            return made
        return {name: value for name, value in (made | special).items() if value is not ABSENT}

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


def typed_values(known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What people type into forms: names and addresses where REST takes ids."""
    server, system, agent = (
        model.objects.get(pk=known[f"api:{model._meta.model_name}"]["pk"]) for model in (Server, System, Agent)
    )
    somebody, another = make.person(), make.person()
    return {
        "server": server.name, "agent": agent.name,
        "system": f"{system.name} ({system.environment})", "owner": somebody.email, "deputy": another.email,
        "successor": another.email, "environment": "production", "password": make.PASSWORD,
    }  # fmt: skip


def page_bodies(known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """`name method` → what a form has besides or instead."""
    today = clock.today()
    item, intake, moved = (
        Item.objects.get(pk=known[name]["pk"])
        for name in ("api:item", "api:item-decide-intake", "api:item-confirm-facts")
    )
    issuer = known["api:workload-issuer"]["pk"]
    decided, drift = (model.objects.get(pk=known[f"api:{model._meta.model_name}"]["pk"]) for model in (Decision, Drift))
    reviewer = User.objects.get(pk=known["accounts:person"]["pk"])
    other = make.person("reviewer")
    published = {
        "name": "com.example/published", "description": "Reads.", "version": "1.0.0",
        "remotes": [{"type": "streamable-http", "url": "https://published.example.test/mcp"}],
    }  # fmt: skip
    rows = {
        "TOTAL_FORMS": 1,
        "INITIAL_FORMS": 0,
        "0-transport": "streamable-http",
        "0-url": "https://a.example.test/mcp",
    }
    endpoints = {f"endpoints-{name}": value for name, value in rows.items()}
    principal = {"issuer": issuer, "subject": "repo:example/stock:main", "claims": "", "audience": "", "owner": ""}
    alike = WorkItem.objects.filter(item__in=known["reviews:bulk"]["items"]).select_related("item")
    mine = {str(row.item_id): row for row in alike}
    return {
        "accounts:decide_group_role POST": {"decision": "confirm"},
        "accounts:decide_roles POST": {"decision": "confirm"},
        "accounts:password POST": {
            "current_password": make.PASSWORD, **dict.fromkeys(("new_password", "repeated"), "entirely other words"),
        },
        "accounts:sign_in POST": {"email": reviewer.email},
        "accounts:emergency POST": {"role": "auditor", "hours": 1},
        "accounts:new_principal POST": principal,
        "accounts:edit_principal POST": principal | {"owner": str(reviewer.pk)},
        "catalog:agent_new POST": {"server": "", "spiffe_id": "spiffe://example.test/agents/typed", "kind": "ai_agent"},
        "catalog:system_new POST": {"kind": "database", "data_class": "internal"},
        "catalog:succession POST": {"proposals": [str(known["api:proposal"]["pk"])], "answer": "accept", "deputy": ""},
        "catalog:visibility_rule_new POST": {"over": "in:staging"},
        "discovery:import_new POST": {"text": json.dumps(published), "place": ""},
        "portal:register POST": {"text": json.dumps(published)},
        "portal:register_by_hand POST": {"name": "com.example/by-hand", **endpoints},
        "portal:registration POST": {"name": "com.example/by-hand", **endpoints},
        "trust:request_grant POST": {"on_behalf_of": "nobody", "max_token_lifetime_seconds": 3600},
        "trust:request_connection POST": {"secret_source": ""},
        "reviews:delegations POST": {
            "delegator": "", "delegate": str(other.pk), "starts_on": str(today), "ends_on": str(today + clock.days(5)),
        },
        "reviews:actions POST": {"action": str(known["api:automatic-action-release"]["pk"])},
        "reviews:decide POST": {"value": "certify", "evidence_hash": item.seen.evidence_hash, "kept": "", "until": ""},
        "reviews:decide_intake POST": {"value": "certify", "evidence_hash": intake.seen.evidence_hash},
        "reviews:confirm_facts POST": {"evidence_hash": evidence_of(moved.subject).evidence_hash},
        "api:item-confirm-facts POST": {"evidence_hash": evidence_of(moved.subject).evidence_hash},
        "reviews:hand_over POST": {"to": str(other.pk), "note": "They know it."},
        "reviews:bulk POST": {
            "item": list(mine), "value": "certify", "kept": "", "until": "",
            **{f"evidence-{pk}": row.item.seen.evidence_hash for pk, row in mine.items()},
            **{f"version-{pk}": review_version(row) for pk, row in mine.items()},
        },
        "reviews:sign_off POST": {"statement": "I looked at each of them."},
        "api:decision-decide-bulk POST": {
            "value": "certify", "kept": [], "until": None, "items": [
                {"item": pk, "evidence_hash": row.item.seen.evidence_hash, "version": review_version(row)}
                for pk, row in mine.items()
            ],
        },
        "api:decision-list POST": {
            "item": str(item.pk), "value": "certify", "kept": [], "until": None,
            IF_MATCH: review_version(item.work_items.get()), "evidence_hash": item.seen.evidence_hash,
        },
        "api:item-decide-intake POST": {
            "value": "certify", "evidence_hash": intake.seen.evidence_hash, "reason": "Everything is there.",
            IF_MATCH: review_version(intake.work_items.get()),
        },
        "api:sign-off-list POST": {"campaign": str(item.campaign_id)},
        "api:item-decide-intake#return POST": {
            "value": "return", "evidence_hash": intake.seen.evidence_hash, "reason": "The purpose is unclear.",
            IF_MATCH: review_version(intake.work_items.get()),
        },
        "reviews:unfinished#discard POST": {"discard": "1"},
        "reviews:hand_over#unassigned POST": {"to": str(other.pk), "note": "They know it."},
        "api:item-hand-over#unassigned POST": {"to": str(other.pk), "note": "They know it."},
        "api:trust-export GET": {"format": "graphml"},
        "api:trust-changes#since GET": {"cursor": beginning(make.SYSTEM_ACTOR)},
        "api:decision-detail DELETE": {IF_MATCH: review_version(decided.work_item)},
        "api:drift-approve POST": {"after": drift.after_id, IF_MATCH: drift.etag},
        "discovery:drift_approve POST": {"after": drift.after_id, "version": drift.etag},
        "accounts:roles#powerful POST": {"roles": ["member", "security"]},
        "api:user-roles#powerful PUT": {"roles": ["member", "security"]},
        "api:audit-pack-list#period POST": {"campaign": ABSENT, "since": str(today), "until": str(today)},
        "portal:register#address POST": {"address": "https://127.0.0.1/mcp"},
        "portal:registration#people POST": {"team": str(known["api:team"]["pk"]), "operator": ""},
        "portal:registration#systems POST": {"connect": "1", "scopes": "", "new_name": ""},
        "portal:registration#secrets POST": {
            **{f"sources-{name}": value for name, value in {
                "TOTAL_FORMS": 1, "INITIAL_FORMS": 0, "0-kind": "vault", "0-reference": "kv/data/typed",
                "0-credential_type": "rotated", "0-rotation_interval_days": 30, "0-revocable_by": "On-call",
                "0-lifetime_unit": 3600,
            }.items()},
        },
    }  # fmt: skip


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
        "api:sighting-list POST": {"client": "cursor", "sightings": [{"entry": "stock", "url": "https://seen.example.test/mcp"}]},
        "api:proposal-list POST": {"vacancies": [str(known["api:vacancy"]["pk"])], "successor": str(successor.pk)},
        "api:item-hand-over POST": {"to": str(successor.pk), "note": "They know it."},
        "api:campaign-assign-reviewer POST": {"to": str(successor.pk)},
        "api:remediation-observe POST": {
            "source": "discovery", "confirmed": True, "proof": "It no longer answers.",
            "observed_at": clock.now().isoformat(),
        },
        "api:audit-pack-list POST": {"campaign": str(known["reviews"]["pk"]), "until": ABSENT},
        **{
            f"api:automatic-action-{act} POST": {"actions": [str(known["api:automatic-action-release"]["pk"])]}
            for act in ("release", "decline")
        },
        "api:review-trigger-list POST": {"kind": "server", "subject": str(server.pk)},
    }  # fmt: skip
