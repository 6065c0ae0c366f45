"""Random worlds: plain rows for the reference, and the same rows as arrays, with some of them laid over later."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np

from registry.accounts.models import Team, User
from registry.catalog.models import Agent, Issuer, SecretSource, Server, System
from registry.core.actors import Actor
from registry.trust.graph import loading
from registry.trust.graph.snapshot import (
    ACCESS,
    DATA_CLASSES,
    ENVIRONMENTS,
    KINDS,
    NEVER,
    NONE,
    STATES,
    STATUSES,
    Column,
    Edges,
    Ids,
    Nodes,
    Secrets,
    Snapshot,
    View,
    instant,
    raw,
)
from registry.trust.graph.store import Mark, State
from registry.trust.models import Connection, Grant
from registry.trust.queries.standpoint import Standpoint
from tests.trust.reference import Edge, Reference, Thing

NOW = 1_000_000
STATUS = ["active"] * 6 + ["suspended", "requested", "revoked"]


def new_id(random: Random) -> UUID:
    # Some ids end in zeros, which numpy would drop from fixed-width bytes.
    return UUID(int=random.getrandbits(128) & ~0xFFFF if random.random() < 0.2 else random.getrandbits(128))


def _until(random: Random) -> float | None:
    return random.choice([None, NOW - 5, NOW, NOW + 1, NOW + 50, NOW + 50])


def _validity(random: Random) -> tuple[float | None, float]:
    return random.choice(
        [(NOW - 9, NOW + 9)] * 5 + [(NOW - 9, NOW), (NOW, NOW + 1), (NOW + 1, NOW + 9), (None, NOW + 9)]
    )


@dataclass
class World:
    """`reference` speaks in ids; `snapshot` holds the same."""

    random: Random
    reference: Reference
    people: list[UUID]
    teams: list[UUID]
    issuers: list[UUID]

    @property
    def edges(self) -> list[Edge]:
        return [*self.reference.all_grants, *self.reference.all_connections]


def world(random: Random, systems: int = 5, now: int = NOW) -> World:
    """Few things and many relationships between them, so that chains and cycles abound. Asked about `now`."""
    people, teams, issuers = ([new_id(random) for _ in range(2)] for _ in range(3))

    def thing(**facts: Any) -> Thing:
        return Thing(
            id=new_id(random),
            active=random.random() < 0.9,
            certified_until=_until(random),
            environment=random.choice(ENVIRONMENTS[1:]),
            owner=random.choice([*people, None]),
            team=random.choice([*teams, None]),
            **facts,
        )

    # Where much ends early, chains do; so some worlds are mostly in force, and all their servers call others.
    chained = random.random() < 0.2
    servers = [thing() for _ in range(random.randint(4 if chained else 1, 7))]
    callers = random.sample(servers, len(servers) if chained else random.randint(0, len(servers)))
    agents = [thing(server=server.id, kind="server", issuer=random.choice([*issuers, None])) for server in callers]
    agents += [thing(kind="ai_agent", issuer=random.choice([*issuers, None])) for _ in range(random.randint(1, 4))]
    reached = [
        thing(data_class=random.choice(DATA_CLASSES[1:]), kind=random.choice(KINDS[5:]))
        for _ in range(random.randint(1, systems))
    ]
    density = random.uniform(0.3, 0.5) if chained else random.random()

    def edges(sources: list[Thing], targets: list[Thing], connections: bool) -> list[Edge]:
        made = []
        for source in sources:
            for target in targets:
                if random.random() < density * (0.6 if connections else 0.8) and source.server != target.id:
                    lasts = chained and random.random() < 0.9
                    start, until = (now - 9, now + 9) if lasts else _validity(random)
                    made.append(
                        Edge(
                            id=new_id(random),
                            source=source.id,
                            target=target.id,
                            status="active" if lasts else random.choice(STATUS),
                            start=start,
                            until=until,
                            certified_until=_until(random),
                            access=random.choice(ACCESS[1:]) if connections else "",
                        )
                    )
        return made

    reference = Reference(
        {each.id: each for each in agents},
        {each.id: each for each in servers},
        {each.id: each for each in reached},
        edges(agents, servers, False),
        edges(servers, reached, True),
        now,
    )
    return World(random, reference, people, teams, issuers)


# --- As arrays -------------------------------------------------------------------------------------------


def _times(values: list[float | None], otherwise: int) -> Any:
    return np.array([otherwise if value is None else int(value) for value in values], dtype=np.int64)


def _codes(values: list[str], words: tuple[str, ...]) -> Any:
    return np.array([words.index(value) for value in values], dtype=np.int8)


def _nodes(things: list[Thing], words: SimpleNamespace, servers: Ids) -> Nodes:
    def numbers(ids: list[UUID | None], among: Ids) -> Any:
        return np.array([NONE if id is None else among.number(id) for id in ids], dtype=np.int32)

    return Nodes(
        Ids(raw([each.id for each in things])),
        state=_codes(["active" if each.active else "retired" for each in things], STATES),
        kind=_codes([each.kind for each in things], KINDS),
        environment=_codes([each.environment for each in things], ENVIRONMENTS),
        rank=_codes([each.data_class for each in things], DATA_CLASSES),
        team=numbers([each.team for each in things], words.teams),
        owner=numbers([each.owner for each in things], words.people),
        deputy=np.full(len(things), NONE, dtype=np.int32),
        issuer=numbers([each.issuer for each in things], words.issuers),
        link=numbers([each.server for each in things], servers),
        certified=_times([each.certified_until for each in things], NEVER),
    )


def _column(edges: list[Edge], sources: Ids, targets: Ids) -> Column:
    kept = [each for each in edges if each.status in STATUSES]
    return Column(
        raw([each.id for each in kept]),
        source=sources.numbers(raw([each.source for each in kept])),
        target=targets.numbers(raw([each.target for each in kept])),
        start=_times([each.start for each in kept], loading.ALWAYS),
        until=_times([each.until if each.status == "active" else None for each in kept], NEVER),
        certified=_times([each.certified_until for each in kept], NEVER),
        status=_codes([each.status for each in kept], STATUSES),
        mark=_codes([each.access for each in kept], ACCESS),
        detail=np.full(len(kept), NONE, dtype=np.int64),
    )


def _laid_over(random: Random, edges: list[Edge], sources: Ids, targets: Ids) -> Edges:
    """Built from what some of the edges were before, with the truth laid over in one or two steps."""
    changed = [each for each in edges if random.random() < 0.4]
    before = [each for each in edges if each not in changed]
    for each in changed:
        if random.random() < 0.7:
            other = random.choice(edges)
            before.append(replace(other, id=each.id, status=random.choice(STATUS), until=NOW + random.randint(-5, 5)))
    random.shuffle(before)
    sizes = {"sources": len(sources), "targets": len(targets)}
    built = Edges.build(_column(before, sources, targets), *sizes.values())
    half = random.randint(0, len(changed))
    for part in (changed[:half], changed[half:]):
        ids = raw([each.id for each in part])
        most = random.choice([0, 4096, 4096])
        built = built.replaced(ids, _column(part, sources, targets), **sizes, most=most)
    return built


def snapshot(made: World) -> Snapshot:
    random, reference = made.random, made.reference
    words = SimpleNamespace(**{name: Ids(raw(getattr(made, name))) for name in ("people", "teams", "issuers")})
    none = Ids(np.empty(0, dtype="S16"))

    def table(things: list[Thing], servers: Ids) -> Nodes:
        """Some of them wrong at first, some not there yet."""
        random.shuffle(things)
        half = random.randint(0, len(things))
        wrong = [replace(each, active=not each.active, server=None) for each in things[:half]]
        base = _nodes(wrong, words, servers)
        ghost = new_id(random)
        base = base.replaced(raw([]), _nodes([Thing(id=ghost)], words, servers))
        rest = raw([each.id for each in things])
        return base.replaced(np.concatenate([rest, raw([ghost])]), _nodes(things, words, servers))

    servers = table(list(reference.servers.values()), none)
    agents = table(list(reference.agents.values()), servers.ids)
    systems = table(list(reference.systems.values()), none)
    return replace(
        loading.empty(),
        agents=agents,
        servers=replace(servers, link=loading._links_back(agents, len(servers))),
        systems=systems,
        grants=_laid_over(random, reference.all_grants, agents.ids, servers.ids),
        connections=_laid_over(random, reference.all_connections, servers.ids, systems.ids),
        people=words.people,
        teams=words.teams,
        issuers=words.issuers,
        secrets=Secrets(none, *(np.empty(0, dtype=np.int32) for _ in range(3))),
    )


def standpoint(made: World, hidden: dict[str, set[UUID]] | None) -> Standpoint:
    """Asked by somebody who may not see `hidden` (None: sees all)."""
    state = State(snapshot(made), "1:1:", Mark(1, "1", 1))
    masks = None
    if hidden is not None:
        masks = {}
        for kind, ids in hidden.items():
            nodes = state.snapshot.nodes(kind)
            masks[kind] = np.isin(np.arange(len(nodes)), nodes.ids.numbers(raw(list(ids))))
    now = int(made.reference.now)
    view = View(state.snapshot, now)
    return Standpoint(Actor.system("tests"), instant(now), state, view, 0, masks, "tests")


# --- As rows of the database -----------------------------------------------------------------------------

START = datetime(2026, 3, 1, tzinfo=UTC)
"""What `NOW` is in the database, in seconds."""


def moment(value: float | None) -> datetime | None:
    return None if value is None else START + timedelta(seconds=value - NOW)


def stored(made: World, hidden: dict[str, set[UUID]] | None, *, written: datetime) -> None:
    """The world as rows, written at `written`. What is `hidden` is confidential and belongs to nobody who asks."""
    reference = made.reference
    unseen = set().union(*(hidden or {}).values())
    stamp = {"created_at": written, "updated_at": written}
    keeper = User(id=new_id(made.random), email=f"{made.random.random()}@keeper.test", name="Keeper", roles=[])
    deputy = User(id=new_id(made.random), email=f"{made.random.random()}@keeper.test", name="Deputy", roles=[])
    people = [User(id=id, email=f"{id}@world.test", name="Owner", roles=[]) for id in made.people]
    User.objects.bulk_create([keeper, deputy, *people])
    Team.objects.bulk_create([Team(id=id, name=f"Team {id}", slug=id.hex) for id in made.teams])
    Issuer.objects.bulk_create(
        [Issuer(id=id, name="Tenant", kind="oidc", uri=f"https://{id}.test", **stamp) for id in made.issuers]
    )

    def governed(thing: Thing) -> dict[str, Any]:
        return {
            "id": thing.id, "owner_id": thing.owner, "team_id": thing.team, "environment": thing.environment,
            "confidential": thing.id in unseen, **stamp,
        }  # fmt: skip

    def server(thing: Thing) -> Server:
        # A server in use has an owner; where the reference has none, it is the keeper.
        return Server(
            **{**governed(thing), "owner_id": thing.owner or keeper.pk}, name=f"w.test/{thing.id}",
            lifecycle="active" if thing.active else "suspended", deputy_id=deputy.pk, owner_accepted_at=written,
            certified_until=moment(thing.certified_until),
        )  # fmt: skip

    servers = [server(thing) for thing in reference.servers.values()]
    Server.objects.bulk_create(servers)
    sources = {
        each.pk: SecretSource(server=each, kind="vault", reference=f"kv/{each.pk}", credential_type="rotated", **stamp)
        for each in servers
    }
    SecretSource.objects.bulk_create(sources.values())
    Agent.objects.bulk_create(
        Agent(
            **governed(thing), name=f"agent {thing.id}", kind=thing.kind, server_id=thing.server,
            spiffe_id=f"spiffe://w.test/{thing.id}", issuer_id=thing.issuer, client_id=thing.id.hex,
            standing="active" if thing.active else "retired",
        )
        for thing in reference.agents.values()
    )  # fmt: skip
    System.objects.bulk_create(
        System(
            **governed(thing), name=f"system {thing.id}", kind=thing.kind, data_class=thing.data_class,
            standing="active" if thing.active else "retired",
        )
        for thing in reference.systems.values()
    )  # fmt: skip
    Grant.objects.bulk_create(
        Grant(agent_id=edge.source, server_id=edge.target, tools=["query"], **terms(edge), **stamp)
        for edge in reference.all_grants
    )
    Connection.objects.bulk_create(
        Connection(
            server_id=edge.source, system_id=edge.target, access=edge.access, secret_source=sources[edge.source],
            **terms(edge), **stamp,
        )
        for edge in reference.all_connections
    )  # fmt: skip


def terms(edge: Edge) -> dict[str, Any]:
    return {
        "id": edge.id, "lineage": edge.id, "status": edge.status, "reason": "Needed.",
        "activated_at": moment(edge.start), "valid_until": moment(edge.until),
        "certified_until": moment(edge.certified_until),
    }  # fmt: skip


def moved_on(made: World, at: datetime) -> World:
    """The world after some changes, made in the database with plain SQL as `at` says."""
    random, reference = made.random, made.reference

    def changed(edge: Edge) -> Edge:
        if random.random() < 0.5:
            return edge
        start, until = _validity(random)
        access = random.choice(ACCESS[1:]) if edge.access else ""
        return replace(edge, status=random.choice(STATUS), start=start, until=until, access=access,
                       certified_until=_until(random))  # fmt: skip

    def standing(thing: Thing) -> Thing:
        return thing if random.random() < 0.7 else replace(thing, active=not thing.active)

    after = replace(
        made,
        reference=Reference(
            {id: standing(thing) for id, thing in reference.agents.items()},
            {id: standing(thing) for id, thing in reference.servers.items()},
            {id: standing(thing) for id, thing in reference.systems.items()},
            [_startable(changed(edge)) for edge in reference.all_grants],
            [_startable(changed(edge)) for edge in reference.all_connections],
            NOW,
        ),
    )
    for model, before, now in (
        (Grant, reference.all_grants, after.reference.all_grants),
        (Connection, reference.all_connections, after.reference.all_connections),
    ):
        for old, edge in zip(before, now, strict=True):
            if old != edge:
                more = {"access": edge.access} if edge.access else {}
                facts = {name: value for name, value in terms(edge).items() if name not in ("id", "lineage")}
                model.objects.filter(pk=edge.id).update(**facts, **more, updated_at=at)
    for model, things, column, off in (
        (Agent, after.reference.agents, "standing", "retired"),
        (Server, after.reference.servers, "lifecycle", "suspended"),
        (System, after.reference.systems, "standing", "retired"),
    ):
        for active in (True, False):
            ids = [id for id, thing in things.items() if thing.active == active]
            model.objects.filter(pk__in=ids).update(**{column: "active" if active else off}, updated_at=at)
    return after


def _startable(edge: Edge) -> Edge:
    """The database knows no active relationship that never began."""
    return replace(edge, start=NOW - 9) if edge.status == "active" and edge.start is None else edge


def storable(made: World) -> World:
    reference = made.reference
    return replace(
        made,
        reference=replace_edges(
            reference, list(map(_startable, reference.all_grants)), list(map(_startable, reference.all_connections))
        ),
    )


def replace_edges(reference: Reference, grants: list[Edge], connections: list[Edge]) -> Reference:
    return Reference(reference.agents, reference.servers, reference.systems, grants, connections, reference.now)
