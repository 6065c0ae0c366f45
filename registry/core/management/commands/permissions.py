"""Prints which role may do what, as docs/permissions.md shows it."""

from typing import Any

from django.core.management.base import BaseCommand

from registry.core.permissions import as_markdown


class Command(BaseCommand):
    help = "Print the table of roles and permissions, as it stands in docs/permissions.md."

    def handle(self, **options: Any) -> None:
        self.stdout.write(as_markdown())
