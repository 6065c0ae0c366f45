from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate

_UNLOGGED = """
DO $$ BEGIN
    IF (SELECT relpersistence FROM pg_class WHERE oid = 'core_ratecount'::regclass) <> 'u' THEN
        ALTER TABLE core_ratecount SET UNLOGGED;
        ALTER TABLE core_ratecount SET (fillfactor = 50);
    END IF;
END $$
"""


def _unlog_counters(using: str, **_: Any) -> None:
    """Django's migrations cannot say UNLOGGED; said once after them, it stays."""
    from django.db import connections

    if "core_ratecount" in connections[using].introspection.table_names():
        with connections[using].cursor() as cursor:
            cursor.execute(_UNLOGGED)


class CoreConfig(AppConfig):
    name = "registry.core"
    verbose_name = "Core"

    def ready(self) -> None:
        from registry.core import checks  # noqa: F401 - registers them

        post_migrate.connect(_unlog_counters, sender=self)
