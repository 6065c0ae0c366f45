from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from registry.accounts.models import User
from registry.accounts.services import MAX_TOKEN_DAYS, create_token
from registry.core.actors import Actor
from registry.core.errors import RegistryError


class Command(BaseCommand):
    help = "Create an API token for somebody and print nothing but the token. It cannot be read again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, metavar="EMAIL")
        parser.add_argument(
            "--scopes",
            required=True,
            metavar="A,B",
            help="For example catalog:read,trust:read; read and write stand for that scope in every room.",
        )
        parser.add_argument("--days", required=True, type=int, help=f"1 to {MAX_TOKEN_DAYS}")
        parser.add_argument("--name", default="made on the command line")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(email__iexact=options["user"].strip()).first()
        if user is None:
            raise CommandError(f"Nobody has the address {options['user']}.")
        scopes = [scope.strip() for scope in options["scopes"].split(",") if scope.strip()]
        try:
            _, secret = create_token(
                actor=Actor.system("create_token command"),
                user=user,
                name=options["name"],
                scopes=scopes,
                days=options["days"],
            )
        except RegistryError as error:
            raise CommandError(explain(error)) from error
        self.stdout.write(secret)


def explain(error: RegistryError) -> str:
    """The refusal in one line per field, named like the option."""
    if not error.fields:
        return error.message
    return "; ".join(f"--{name}: {' '.join(messages)}" for name, messages in error.fields.items())
