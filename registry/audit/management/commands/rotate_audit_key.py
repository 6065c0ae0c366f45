from typing import Any

from django.core.management.base import BaseCommand, CommandError

from registry.audit.services import rotate_key
from registry.core.actors import Actor
from registry.core.errors import RegistryError


class Command(BaseCommand):
    help = (
        "Replace the private key in AUDIT_SIGNING_KEY_FILE. The old one signs a last checkpoint and is forgotten; its "
        "public half stays listed, so that what it signed still verifies."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            key = rotate_key(actor=Actor.system("rotate_audit_key"))
        except RegistryError as refused:
            raise CommandError(refused.message) from refused
        self.stdout.write(f"The new key, for everybody who verifies:\n{key.key}")
