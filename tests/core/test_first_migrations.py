"""Tables made in one go are the tables made step by step."""

from typing import Any

import pytest
from django.db import connection, migrations, models
from django.db.migrations.state import ProjectState

from registry.core.first_migrations import apply_at_once, is_first


class Shelves(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel("Book", [("id", models.AutoField(primary_key=True)), ("title", models.TextField())]),
        migrations.CreateModel("Shelf", [("id", models.AutoField(primary_key=True))]),
        migrations.AddField("Book", "shelf", models.ForeignKey("bench.Shelf", models.CASCADE)),
        migrations.AddIndex("Book", models.Index(fields=["title"], name="book_by_title")),
        migrations.AddConstraint("Book", models.UniqueConstraint(fields=["title", "shelf"], name="book_once")),
    ]


def made(apply: Any) -> Any:
    """Columns and constraints of the table of books, which is gone again afterwards."""
    migration = Shelves("0001_initial", "bench")
    with connection.schema_editor() as editor:
        state = apply(migration)(ProjectState(), editor)
    with connection.cursor() as cursor:
        columns = [column[:3] for column in connection.introspection.get_table_description(cursor, "bench_book")]
        constraints = connection.introspection.get_constraints(cursor, "bench_book")
        cursor.execute("DROP TABLE bench_book, bench_shelf")
    found = sorted((tuple(each["columns"]), each["unique"], str(each["foreign_key"])) for each in constraints.values())
    return columns, found, set(state.models)


@pytest.mark.django_db(transaction=True)
def test_one_go_makes_what_the_steps_make() -> None:
    steps = made(lambda migration: migration.apply)
    at_once = made(lambda migration: lambda state, editor: apply_at_once(migration, state, editor))
    assert at_once == steps
    assert len(steps[1]) >= 4


def test_what_moves_data_goes_step_by_step() -> None:
    migration = Shelves("0001_initial", "bench")
    assert is_first(migration)
    migration.operations = [*Shelves.operations, migrations.RunPython(migrations.RunPython.noop)]
    assert not is_first(migration)
    later = Shelves("0002_more", "bench")
    later.initial = False
    assert not is_first(later)
