from typing import Any

from django.core.management.base import BaseCommand

from registry.core import scopes


class Command(BaseCommand):
    help = "Print the table of scopes as docs/machines.md has it."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(scopes.as_markdown())
