"""`manage.py migrate`, with first migrations in one go (see `registry.core.first_migrations`)."""

from django.core.management.commands import migrate

from registry.core.first_migrations import Executor


class Command(migrate.Command):
    pass


migrate.MigrationExecutor = Executor  # type: ignore[attr-defined]  # the command offers no other way to name one
