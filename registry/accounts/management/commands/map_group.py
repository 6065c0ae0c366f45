"""Let a group of the provider give a role: the way to the first administrator where nobody has a password."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from registry.accounts.models import Role
from registry.accounts.services import known_sources, map_group
from registry.core.actors import Actor
from registry.core.errors import RegistryError


class Command(BaseCommand):
    help = "Let whoever is in a group of the identity provider or directory have a role."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("group", help="exactly as the provider sends it")
        parser.add_argument("role", choices=Role.values)
        parser.add_argument("--provider", default="", choices=["", *known_sources()], help="default: any of them")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            mapping = map_group(
                actor=Actor.system("manage.py map_group"),
                group=options["group"],
                role=options["role"],
                provider=options["provider"],
            )
        except RegistryError as error:
            told = [message for messages in error.fields.values() for message in messages]
            raise CommandError(" ".join([error.message, *told])) from error
        self.stdout.write(f"Whoever is in {mapping.group} has the role {mapping.role}.")
