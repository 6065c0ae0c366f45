"""First migrations in one go.

A first migration describes its tables in hundreds of steps, and for each Django draws all models anew that hang
together: nine tenths of the time of an empty database. Where no table exists yet only the sum of the steps matters, so
it is drawn once, and the tables are created as they stand at its end.
"""

from functools import partial
from typing import Any

from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.operations import AddConstraint, AddField, AddIndex, CreateModel, RunSQL
from pgtrigger.migrations import AddTrigger

CONTAINED = (AddField, AddIndex, AddConstraint)
"""Steps that a table created in its last shape has behind it."""
STEPS = (CreateModel, AddTrigger, RunSQL, *CONTAINED)


class Executor(MigrationExecutor):
    def apply_migration(self, state: Any, migration: Any, fake: bool = False, fake_initial: bool = False) -> Any:
        if is_first(migration) and not fake:
            migration.apply = partial(apply_at_once, migration)
        return super().apply_migration(state, migration, fake=fake, fake_initial=fake_initial)


def is_first(migration: Migration) -> bool:
    """Whether it is one of ours that creates its tables, in steps whose order does not matter."""
    return bool(migration.initial) and all(isinstance(each, STEPS) for each in migration.operations)


def apply_at_once(migration: Migration, project_state: Any, schema_editor: Any, collect_sql: bool = False) -> Any:
    """Like `Migration.apply`. Returns the state after it."""
    state = project_state.clone()
    state.__dict__.pop("apps", None)
    for step in migration.operations:
        step.state_forwards(migration.app_label, state)
    for step in migration.operations:
        if not isinstance(step, CONTAINED):
            step.database_forwards(migration.app_label, schema_editor, state, state)
    return state
