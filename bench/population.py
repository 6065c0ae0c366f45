"""Many rows at once, written with `bulk_create`: a benchmark measures reading them, not registering them."""

from datetime import timedelta
from typing import Any

from django.db import connection
from django.test import Client

from registry.accounts.models import Membership, Team, User
from registry.accounts.services import create_token
from registry.catalog.models import Endpoint, Purpose, SecretSource, Server, Tool
from registry.core import clock
from registry.core.actors import Actor

BATCH = 2_000
TEAMS = 40
DIGEST = "0" * 64


def _everybody(*models: Any) -> None:
    with connection.cursor() as cursor:
        for model in models:
            cursor.execute(f"ANALYZE {connection.ops.quote_name(model._meta.db_table)}")


def reader() -> Client:
    """A REST client with a token that reads everything."""
    user = User.objects.create(email="reader@example.test", name="Reader", roles=["member", "auditor"])
    _, secret = create_token(actor=Actor.person(user), user=user, name="bench", scopes=["read"], days=1)
    return Client(headers={"Authorization": f"Bearer {secret}", "Accept": "application/json"})


def reviewers(number: int) -> list[User]:
    """A campaign manager, then reviewers."""
    people = [User(email="manager@example.test", name="Manager", roles=["campaign_manager"])]
    people += [
        User(email=f"reviewer{index}@example.test", name=f"Reviewer {index}", roles=["reviewer"])
        for index in range(number)
    ]
    return User.objects.bulk_create(people)


def many_servers(number: int) -> list[Server]:
    """Active servers with an endpoint, a purpose, two tools and a secret source each."""
    now = clock.now()
    owners = User.objects.bulk_create(
        User(email=f"owner{index}@example.test", name=f"Owner {index}", roles=["member"]) for index in range(2 * TEAMS)
    )
    teams = Team.objects.bulk_create(Team(name=f"Team {index}", slug=f"team-{index}") for index in range(TEAMS))
    Membership.objects.bulk_create(
        Membership(team=teams[index % TEAMS], user=user) for index, user in enumerate(owners)
    )
    servers = Server.objects.bulk_create(
        (
            Server(
                name=f"com.example/server-{index:05}",
                title=f"Server {index}",
                description="Answers questions about stock, shipments and margins for planners and analysts.",
                owner=owners[index % len(owners)],
                deputy=owners[(index + 1) % len(owners)],
                team=teams[index % TEAMS],
                created_by=owners[index % len(owners)],
                submitted_by=owners[index % len(owners)],
                owner_accepted_at=now,
                lifecycle="active",
                activated_at=now,
                tier=("low", "medium", "high", "critical")[index % 4],
            )
            for index in range(number)
        ),
        batch_size=BATCH,
    )
    Endpoint.objects.bulk_create(
        (
            Endpoint(server=s, transport="streamable-http", url=f"https://{s.pk.hex}.example/mcp", canonical_uri=s.name)
            for s in servers
        ),
        batch_size=BATCH,
    )
    Purpose.objects.bulk_create(
        (
            Purpose(
                server=s, number=1, statement="Stock questions.", data_classes=["internal"],
                ends_on=clock.today() + timedelta(days=300),
            )
            for s in servers
        ),
        batch_size=BATCH,
    )  # fmt: skip
    Tool.objects.bulk_create(
        (
            Tool(
                server=s, name=name, digest="0" * 64, approved_digest="0" * 64, approved_at=now, confirmed_class="read"
            )
            for s in servers
            for name in ("query", "export")
        ),
        batch_size=BATCH,
    )
    SecretSource.objects.bulk_create(
        (
            SecretSource(server=s, kind="vault", reference=f"kv/data/{s.pk.hex}", credential_type="rotated")
            for s in servers
        ),
        batch_size=BATCH,
    )
    _everybody(User, Team, Server, Endpoint, Purpose, Tool, SecretSource)
    return servers
