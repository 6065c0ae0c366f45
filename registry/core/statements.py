"""How long a statement of a web process may take. One question that takes minutes holds a worker everybody needs."""

from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created


def limit_statements() -> None:
    """Every connection of this process from now on. Said on the connection, not in the address of the database: a proxy
    in front of PostgreSQL refuses parameters it does not know."""
    if settings.STATEMENT_SECONDS > 0:
        connection_created.connect(_limit, dispatch_uid="statement seconds")


def _limit(sender: Any, connection: BaseDatabaseWrapper, **_: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET statement_timeout = {int(settings.STATEMENT_SECONDS * 1000)}")
