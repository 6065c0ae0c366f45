from getpass import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from registry.accounts.management.commands.create_token import explain
from registry.accounts.models import Role
from registry.accounts.services import create_user
from registry.core.actors import Actor
from registry.core.errors import RegistryError


class Command(BaseCommand):
    help = "Add a person, for example the first administrator. Asks for a password unless told not to."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--email", required=True)
        parser.add_argument("--name", required=True)
        parser.add_argument("--roles", default=Role.MEMBER.value, metavar="A,B", help=", ".join(Role.values))
        parser.add_argument("--no-password", action="store_true", help="They will sign in through a provider.")
        parser.add_argument("--password-stdin", action="store_true", help="Read the password from standard input.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            user = create_user(
                actor=Actor.system("create_user command"),
                email=options["email"],
                name=options["name"],
                roles=[role.strip() for role in options["roles"].split(",") if role.strip()],
                password=self._password(options),
            )
        except RegistryError as error:
            raise CommandError(explain(error)) from error
        self.stdout.write(str(user.pk))

    def _password(self, options: dict[str, Any]) -> str | None:
        if options["no_password"]:
            return None
        # From standard input rather than an argument: arguments are seen by everybody on the machine.
        return input() if options["password_stdin"] else getpass("Password: ")
