"""The shapes of trust over REST.

Lists and trust answers come from rows, not from serializers: the serializers describe the schema (and the tests hold
the rows to it).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from registry.catalog.models import Agent, DataClass, Environment, System, Tier
from registry.core import clock
from registry.trust.models import Connection, Grant
from registry.trust.queries.use import use_of
from registry.trust.states import Status

RELATIONSHIP_KINDS = [(kind, kind) for kind in ("grant", "connection")]
STATUS_HELP = (
    "This relationship: active, inside its validity, signed off, and both its ends in use. What is suspended, expired "
    "or lapsed is not certified, nor what rests on a suspended server. Whether the ends are certified, they say."
)
USE_HELP = "What was seen in use; null when nothing was."

# --- What a relationship looks like ----------------------------------------------------------------------


class ReferenceSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()


class ServerReferenceSerializer(ReferenceSerializer):
    title = serializers.CharField(allow_blank=True)


class CertifiedAgentSerializer(ReferenceSerializer):
    certified = serializers.BooleanField(help_text="The agent itself: in use, and its own certificate in force.")


class CertifiedServerSerializer(ServerReferenceSerializer):
    certified = serializers.BooleanField(help_text="The server itself: active, and its own certificate in force.")


class UseSerializer(serializers.Serializer[Any]):
    first_used = serializers.DateTimeField()
    last_used = serializers.DateTimeField()
    calls = serializers.IntegerField()
    errors = serializers.IntegerField()  # type: ignore[assignment]


class RelationshipSerializer(serializers.Serializer[Any]):
    """A grant (agent → server) or a connection (server → system); what does not apply is null or empty."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(RELATIONSHIP_KINDS)
    lineage = serializers.UUIDField(help_text="The same for every version between the same two ends.")
    status = serializers.ChoiceField(Status.choices)
    agent = CertifiedAgentSerializer(allow_null=True)
    server = CertifiedServerSerializer()
    system = ReferenceSerializer(allow_null=True)
    tools = serializers.ListField(child=serializers.CharField())
    all_tools = serializers.BooleanField()
    access = serializers.ChoiceField(Connection.Access.choices, allow_blank=True)
    scopes = serializers.ListField(child=serializers.CharField())
    environment = serializers.ChoiceField(Environment.choices, help_text="Of the server.")
    tier = serializers.ChoiceField(Tier.choices, help_text="Of the server.")
    team = ReferenceSerializer(allow_null=True, help_text="Of the server.")
    valid_until = serializers.DateTimeField()
    certified_until = serializers.DateTimeField(allow_null=True)
    certified = serializers.BooleanField(help_text=STATUS_HELP)
    observed = UseSerializer(allow_null=True, help_text=USE_HELP)


def relationships_json(rows: Iterable[dict[str, Any]], *, now: datetime) -> list[dict[str, Any]]:
    """Rows of `queries.COLUMNS` in the shape of `RelationshipSerializer`."""
    listed = list(rows)
    use = use_of(listed, until=now)
    return [_relationship_json(row) | {"observed": use.get(row["id"])} for row in listed]


def _relationship_json(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "kind": row["kind"],
        "lineage": row["lineage"],
        "status": row["status"],
        "agent": _reference(row, "agent", "certified"),
        "server": _reference(row, "server", "title", "certified"),
        "system": _reference(row, "system"),
        "tools": row["tools"],
        "all_tools": row["all_tools"],
        "access": row["access"],
        "scopes": row["scopes"],
        "environment": row["environment"],
        "tier": row["tier"],
        "team": _reference(row, "team"),
        "valid_until": row["valid_until"],
        "certified_until": row["certified_until"],
        "certified": row["certified"],
    }


def _reference(row: dict[str, Any], name: str, *more: str) -> dict[str, Any] | None:
    if row[f"{name}_id"] is None:
        return None
    return {key: row[f"{name}_{key}"] for key in ("id", "name", *more)}


_DETAILS = [
    "id", "version", "created_at", "updated_at", "kind", "lineage", "supersedes", "status", "status_reason", "reason",
    "valid_until", "certified_until", "certified", "requested_by", "decided_by", "decided_at", "activated_at",
    "ended_at", "observed",
]  # fmt: skip


class DetailSerializer(serializers.ModelSerializer[Any]):
    kind = serializers.CharField(read_only=True)
    certified = serializers.SerializerMethodField(help_text=STATUS_HELP)

    observed = serializers.SerializerMethodField(help_text=USE_HELP)

    def get_certified(self, relationship: Any) -> bool:
        return bool(relationship.certified_at(clock.now()))

    @extend_schema_field(UseSerializer(allow_null=True))
    def get_observed(self, relationship: Any) -> dict[str, Any] | None:
        ends = {name: getattr(relationship, name, None) for name in ("agent_id", "server_id", "system_id")}
        row = {"id": relationship.pk, "kind": relationship.kind, **ends}
        return use_of([row], until=clock.now()).get(relationship.pk)


class GrantSerializer(DetailSerializer):
    class Meta:
        model = Grant
        fields = [
            *_DETAILS, "agent", "server", "tools", "all_tools", "purpose", "on_behalf_of", "behalf_detail",
            "max_token_lifetime_seconds",
        ]  # fmt: skip
        read_only_fields = fields


class ConnectionSerializer(DetailSerializer):
    class Meta:
        model = Connection
        fields = [*_DETAILS, "server", "system", "access", "scopes", "secret_source"]
        read_only_fields = fields


# --- Answers ---------------------------------------------------------------------------------------------


class AnswerSerializer(serializers.Serializer[Any]):
    """What every trust answer carries."""

    as_of = serializers.DateTimeField(help_text="The instant that was judged.")
    data_version = serializers.CharField(
        help_text="Moves when a change that counts is committed, and only then. Opaque; compare for equality."
    )
    note = serializers.CharField(
        allow_blank=True, help_text="What one should know, for example that nothing was recorded that early."
    )


def numbers(component: str, words: str, *names: str) -> serializers.Serializer[Any]:
    """An object of whole numbers under these names; sightings are only counted where they are asked for."""
    fields = {name: serializers.IntegerField(required=name != "sightings") for name in names}
    made = type(f"{component}Serializer", (serializers.Serializer,), fields)
    return made(help_text=words)


def counts(component: str, *names: str) -> serializers.Serializer[Any]:
    return numbers(f"{component}Counts", "Exact, with what you may not see.", *names)


def hidden(component: str, *names: str) -> serializers.Serializer[Any]:
    return numbers(f"{component}Hidden", "How many of them you may not see.", *names)


def links(component: str, *names: str) -> serializers.Serializer[Any]:
    """`next`: per list the address of its next page."""
    fields = {name: serializers.URLField(allow_null=True, required=False) for name in names}
    made = type(f"{component}NextSerializer", (serializers.Serializer,), fields)
    return made(help_text="Where each list goes on; null at its end. That page holds this list alone.")


class PathServerSerializer(ServerReferenceSerializer):
    tier = serializers.ChoiceField(Tier.choices)


class AgentReferenceSerializer(ReferenceSerializer):
    spiffe_id = serializers.CharField(allow_blank=True)
    client_id = serializers.CharField(allow_blank=True)


class SystemReferenceSerializer(ReferenceSerializer):
    data_class = serializers.ChoiceField(DataClass.choices)


class ThingSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField()
    id = serializers.UUIDField()
    name = serializers.CharField(allow_null=True)


class WaySerializer(serializers.Serializer[Any]):
    """One way from an agent to a system. Through a server you may not see: `server` null, and only `words` follow."""

    server = PathServerSerializer(allow_null=True, help_text="The server that the agent calls.")
    words = serializers.CharField(required=False)
    via = PathServerSerializer(many=True, required=False, help_text="Servers that it calls in turn, in order.")
    hops = serializers.IntegerField(required=False, help_text="How many relationships.")
    grant = serializers.UUIDField(required=False, help_text="Of the agent, on `server`.")
    grants = serializers.ListField(child=serializers.UUIDField(), required=False, help_text="Of the servers in `via`.")
    connection = serializers.UUIDField(required=False, help_text="Of the last server, with the system.")
    tools = serializers.ListField(child=serializers.CharField(), required=False)
    all_tools = serializers.BooleanField(required=False)
    access = serializers.ChoiceField(Connection.Access.choices)
    scopes = serializers.ListField(child=serializers.CharField(), required=False)
    on_behalf_of = serializers.ChoiceField(Grant.OnBehalfOf.choices, required=False)
    behalf_detail = serializers.CharField(required=False, allow_blank=True)
    valid_until = serializers.DateTimeField(required=False, help_text="When the first part of it ends.")
    certified = serializers.BooleanField(required=False, help_text="Every grant, connection and server on it is.")


class HowReachedSerializer(serializers.Serializer[Any]):
    """How a thing is reached over all ways together."""

    observed = UseSerializer(
        allow_null=True,
        required=False,
        help_text="Its use by what the question is about, where `basis` asks for it; null when none was seen.",
    )

    access = serializers.ChoiceField(Connection.Access.choices, allow_blank=True, help_text="The highest of all ways.")
    certified = serializers.BooleanField(help_text="At least one way is certified throughout.")
    direct = serializers.BooleanField(help_text="At least one way has one server only.")
    hops = serializers.IntegerField(help_text="Relationships of the shortest way.")


class SystemReachedSerializer(ReferenceSerializer, HowReachedSerializer):
    kind = serializers.ChoiceField(System.Kind.choices)
    environment = serializers.ChoiceField(Environment.choices)
    data_class = serializers.ChoiceField(DataClass.choices)


class ReachedSystemSerializer(SystemReachedSerializer):
    through = WaySerializer(many=True, help_text="The best few ways, shortest first.")


class TouchedSystemSerializer(SystemReachedSerializer):
    sole_path = serializers.BooleanField(help_text="No server besides has a connection with it.")


class ReachedServerSerializer(PathServerSerializer, HowReachedSerializer):
    environment = serializers.ChoiceField(Environment.choices)
    data_class = serializers.ChoiceField(DataClass.choices, allow_blank=True, help_text="Highest of its systems.")


class CallingAgentSerializer(AgentReferenceSerializer, HowReachedSerializer):
    kind = serializers.ChoiceField(Agent.Kind.choices)
    environment = serializers.ChoiceField(Environment.choices)
    owner = serializers.CharField(allow_null=True)


class ReachingAgentSerializer(CallingAgentSerializer):
    through = WaySerializer(many=True, help_text="The best few ways, shortest first.")


class DataClassCountSerializer(serializers.Serializer[Any]):
    data_class = serializers.ChoiceField(DataClass.choices)
    systems = serializers.IntegerField()


class BehalfCountSerializer(serializers.Serializer[Any]):
    on_behalf_of = serializers.ChoiceField(Grant.OnBehalfOf.choices)
    agents = serializers.IntegerField()


class SightingSerializer(serializers.Serializer[Any]):
    source = ThingSerializer()  # type: ignore[assignment]
    target = ThingSerializer()
    calls = serializers.IntegerField()
    last_used = serializers.DateTimeField()


SIGHTINGS_HELP = "Use that nothing in force allows, where `basis` asks for it. A sighting is never a grant."


class ReachSerializer(AnswerSerializer):
    agent = AgentReferenceSerializer(required=False)
    counts = counts("Reach", "systems", "servers", "sightings")
    hidden = hidden("Reach", "systems", "servers", "sightings")
    data_classes = DataClassCountSerializer(many=True, required=False)
    systems = ReachedSystemSerializer(many=True, required=False)
    servers = ReachedServerSerializer(many=True, required=False)
    sightings = SightingSerializer(many=True, required=False, help_text=SIGHTINGS_HELP)
    next = links("Reach", "systems", "servers", "sightings")


class AccessSerializer(AnswerSerializer):
    system = SystemReferenceSerializer(required=False)
    counts = counts("Access", "agents", "direct_agents", "servers", "sightings")
    hidden = hidden("Access", "agents", "servers", "sightings")
    on_behalf_of = BehalfCountSerializer(many=True, required=False)
    agents = ReachingAgentSerializer(many=True, required=False)
    servers = ReachedServerSerializer(many=True, required=False)
    sightings = SightingSerializer(many=True, required=False, help_text=SIGHTINGS_HELP)
    next = links("Access", "agents", "servers", "sightings")


class ConcernedPersonSerializer(ReferenceSerializer):
    """Whose it is, and how much of it."""

    agents = serializers.IntegerField()
    servers = serializers.IntegerField()
    deputy_of = serializers.IntegerField(help_text="Servers whose deputy owner they are.")
    systems = serializers.IntegerField()


class BlastRadiusSerializer(AnswerSerializer):
    """What an attacker holds who holds the subject: what it reaches, and which agents trust it."""

    subject = ThingSerializer(required=False)
    counts = counts("BlastRadius", "agents", "servers", "systems", "people")
    hidden = hidden("BlastRadius", "agents", "servers", "systems")
    data_classes = DataClassCountSerializer(many=True, required=False)
    on_behalf_of = BehalfCountSerializer(many=True, required=False)
    agents = CallingAgentSerializer(many=True, required=False, help_text="Whose trust is abused: they call it.")
    servers = ReachedServerSerializer(many=True, required=False)
    systems = TouchedSystemSerializer(many=True, required=False)
    people = ConcernedPersonSerializer(many=True, required=False)
    next = links("BlastRadius", "agents", "servers", "systems", "people")


class LosingAgentSerializer(AgentReferenceSerializer):
    owner = serializers.CharField(allow_null=True)
    grants = serializers.ListField(child=serializers.UUIDField(), help_text="Its grants that are cut.")
    tools = serializers.ListField(child=serializers.CharField(), help_text="What it can no longer call.")
    all_tools = serializers.BooleanField()
    loses = SystemReferenceSerializer(
        many=True, help_text="Systems it then no longer reaches: the worst few (`named`)."
    )
    keeps = SystemReferenceSerializer(
        many=True, help_text="Systems it still reaches another way: the worst few (`named`)."
    )
    losses = serializers.IntegerField(help_text="Systems it then no longer reaches, with those you may not see.")
    kept = serializers.IntegerField(help_text="Systems it still reaches another way, with those you may not see.")
    sole_path = serializers.BooleanField(help_text="What is cut is its only way to some system.")


class CutSystemSerializer(SystemReferenceSerializer):
    kind = serializers.ChoiceField(System.Kind.choices)
    environment = serializers.ChoiceField(Environment.choices)
    unserved = serializers.BooleanField(help_text="No server has a connection with it any more.")
    lost_by = serializers.IntegerField(help_text="Agents that no longer reach it.")
    kept_by = serializers.IntegerField(help_text="Agents that still reach it another way.")


IMPACT_COUNTS = (
    "grants", "connections", "agents", "losing", "losing_tools", "losing_systems", "pairs_lost", "pairs_kept",
    "systems", "unserved",
)  # fmt: skip


class ImpactSerializer(AnswerSerializer):
    """What breaks when the subject is cut."""

    subject = ThingSerializer(required=False)
    counts = counts("Impact", *IMPACT_COUNTS)
    hidden = hidden("Impact", "agents", "losing", "systems")
    agents = LosingAgentSerializer(many=True, required=False)
    systems = CutSystemSerializer(many=True, required=False)
    next = links("Impact", "agents", "systems")


class HopSerializer(serializers.Serializer[Any]):
    """One relationship of a path. What you may not see is null."""

    kind = serializers.ChoiceField(RELATIONSHIP_KINDS)
    id = serializers.UUIDField(allow_null=True)
    source = ThingSerializer(allow_null=True)  # type: ignore[assignment]
    target = ThingSerializer(allow_null=True)


class PathSerializer(serializers.Serializer[Any]):
    hops = serializers.IntegerField()
    access = serializers.ChoiceField(Connection.Access.choices, allow_blank=True)
    data_class = serializers.ChoiceField(DataClass.choices, allow_blank=True)
    certified = serializers.BooleanField()
    steps = HopSerializer(many=True)
    words = serializers.CharField(required=False, help_text="Said of a path through something you may not see.")


class PathsSerializer(AnswerSerializer):
    source = ThingSerializer(required=False)  # type: ignore[assignment]
    target = ThingSerializer(required=False)
    counts = counts("Paths", "paths")
    hidden = hidden("Paths", "paths")
    complete = serializers.BooleanField(required=False, help_text="False when there are more than `limit`.")
    paths = PathSerializer(many=True)
    next = links("Paths")


class SharedSecretSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField(help_text="Of one secret source that names it.")
    kind = serializers.CharField()
    reference = serializers.CharField()
    servers = ServerReferenceSerializer(many=True)
    hidden_servers = serializers.IntegerField()
    systems = serializers.IntegerField(help_text="Systems that connections with it reach.")
    data_class = serializers.ChoiceField(DataClass.choices, allow_blank=True)


class SharedSecretsSerializer(AnswerSerializer):
    counts = counts("SharedSecrets", "secrets", "servers")
    hidden = hidden("SharedSecrets", "secrets", "servers")
    secrets = SharedSecretSerializer(many=True, required=False)
    next = links("SharedSecrets", "secrets")


class EnvironmentCrossingSerializer(serializers.Serializer[Any]):
    agent = ReferenceSerializer(allow_null=True)
    server = ServerReferenceSerializer(allow_null=True, help_text="The first one on the way: what the agent calls.")
    system = ReferenceSerializer(allow_null=True)
    environments = serializers.ListField(
        child=serializers.ChoiceField(Environment.choices), help_text="Of agent, server and system."
    )


class TenantCrossingSerializer(serializers.Serializer[Any]):
    server = ServerReferenceSerializer()
    issuers = ReferenceSerializer(many=True, help_text="Of the tokens its callers bring.")
    without_issuer = serializers.BooleanField(help_text="Some callers are known without an issuer.")
    agents = serializers.IntegerField()


class CrossingsSerializer(AnswerSerializer):
    counts = counts("Crossings", "environment", "worst", "tenant")
    hidden = hidden("Crossings", "environment", "tenant")
    environment = EnvironmentCrossingSerializer(
        many=True, required=False, help_text="Ways not all of one environment, production reached from outside first."
    )
    tenant = TenantCrossingSerializer(
        many=True, required=False, help_text="Servers called by agents of several issuers."
    )
    next = links("Crossings", "environment", "tenant")


class OrphanSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(RELATIONSHIP_KINDS)
    id = serializers.UUIDField()
    ends = ThingSerializer(many=True, help_text="Which of its ends has no owner, or one who has left.")


class OrphansSerializer(AnswerSerializer):
    counts = counts("Orphans", "grants", "connections")
    hidden = hidden("Orphans", "grants", "connections")
    relationships = OrphanSerializer(many=True, required=False)
    next = links("Orphans", "relationships")


class UnusedSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(RELATIONSHIP_KINDS)
    id = serializers.UUIDField()
    source = ThingSerializer(allow_null=True)  # type: ignore[assignment]
    target = ThingSerializer(allow_null=True)
    last_used = serializers.DateTimeField(allow_null=True)


class UnusedRelationshipsSerializer(AnswerSerializer):
    known = serializers.BooleanField(required=False, help_text="False while nothing was observed: nobody can say.")
    since = serializers.DateTimeField(required=False)
    counts = counts("Unused", "grants", "connections")
    hidden = hidden("Unused", "grants", "connections")
    relationships = UnusedSerializer(many=True, required=False)
    next = links("Unused", "relationships")


class SightingsSerializer(AnswerSerializer):
    """Use that nothing in force allows. A sighting is never a grant."""

    known = serializers.BooleanField(required=False, help_text="False while nothing was observed: nobody can say.")
    counts = counts("Sightings", "of_servers", "of_systems")
    hidden = hidden("Sightings", "of_servers", "of_systems")
    sightings = SightingSerializer(many=True, required=False)
    next = links("Sightings", "sightings")


class DiffuseServerSerializer(PathServerSerializer):
    teams = serializers.IntegerField()
    agents = serializers.IntegerField()


class DiffuseSerializer(AnswerSerializer):
    counts = counts("Diffuse", "servers")
    hidden = hidden("Diffuse", "servers")
    servers = DiffuseServerSerializer(many=True, required=False)
    next = links("Diffuse", "servers")


class StatsSerializer(AnswerSerializer):
    counts = serializers.DictField(child=serializers.IntegerField())
    hidden = serializers.DictField(child=serializers.IntegerField())
    by = serializers.DictField(
        child=serializers.DictField(child=serializers.IntegerField()),
        required=False,
        help_text="data_class, access, tier, environment: how many systems, connections, servers, servers of each.",
    )
    next = links("Stats")


class DifferingSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(RELATIONSHIP_KINDS)
    id = serializers.UUIDField()
    source = ThingSerializer(allow_null=True)  # type: ignore[assignment]
    target = ThingSerializer(allow_null=True)
    before = serializers.CharField(
        allow_blank=True, help_text="A status, `in force`, or nothing: not there yet, or ended."
    )
    after = serializers.CharField(allow_blank=True)
    terms = serializers.BooleanField(help_text="Access, tools or validity differ.")


DIFFERENCE_COUNTS = (
    "appeared", "vanished", "changed", "came_into_force", "lost_force", "in_force_before", "in_force_after",
)  # fmt: skip
"""What appeared, vanished or changed counts relationships that differ at all; what came into force or lost it explains
the step from before to after: also a relationship that is still active and whose server is not."""


class DifferenceSerializer(AnswerSerializer):
    since = serializers.DateTimeField(required=False)
    counts = counts("Difference", *DIFFERENCE_COUNTS)
    hidden = hidden("Difference", "relationships")
    relationships = DifferingSerializer(many=True, required=False)
    next = links("Difference", "relationships")
