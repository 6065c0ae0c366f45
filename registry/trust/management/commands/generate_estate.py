"""`manage.py generate_estate`: a large made-up estate in an empty database."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from registry.core.errors import RegistryError
from registry.trust.estate import Size, generate_estate


class Command(BaseCommand):
    help = "Fill an empty database with a made-up estate of the given size, to try the product at size."

    def add_arguments(self, parser: CommandParser) -> None:
        size = Size()
        parser.add_argument("--agents", type=int, default=size.agents)
        parser.add_argument("--servers", type=int, default=size.servers)
        parser.add_argument("--systems", type=int, default=size.systems)
        parser.add_argument("--relationships", type=int, default=size.relationships)
        parser.add_argument("--seed", type=int, default=1, help="The same seed makes the same estate.")

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        wanted = {name: options[name] for name in ("agents", "servers", "systems", "relationships")}
        try:
            made = generate_estate(
                size=Size(**wanted), seed=options["seed"], progress=lambda step: self.stdout.write(f"  {step} …")
            )
        except RegistryError as error:
            details = "; ".join(f"{name}: {' '.join(texts)}" for name, texts in error.fields.items())
            raise CommandError(details or error.message) from None
        rows = ", ".join(f"{number:,} {name}" for name, number in made.items())
        self.stdout.write(f"Made {rows} in {time.monotonic() - started:.0f} s.")
