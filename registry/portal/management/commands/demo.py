"""`manage.py demo`: fill an empty embedded registry with an invented organisation."""

import gc
import logging
import time
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection, transaction

from registry.accounts.models import User
from registry.audit.models import Event
from registry.audit.services import record
from registry.core.actors import Actor
from registry.portal.demo.story import Story

FINISHED = "demo.told"


class Command(BaseCommand):
    help = "Make demo data in an empty registry. Only in the embedded profile: its accounts have a published password."

    def add_arguments(self, parser: CommandParser) -> None:
        choice = parser.add_mutually_exclusive_group()
        choice.add_argument("--if-empty", action="store_true", help="do nothing when there is anybody already")
        choice.add_argument("--reset", action="store_true", help="first remove EVERYTHING in the database")

    def handle(self, *args: Any, if_empty: bool = False, reset: bool = False, **options: Any) -> None:
        if not settings.EMBEDDED:
            raise CommandError("Demo data is made in the embedded profile only: everybody knows its password.")
        if reset:
            call_command("flush", interactive=False, verbosity=0)
        elif User.objects.exists():
            if Event.objects.filter(act=FINISHED).exists() or not if_empty:
                if if_empty:
                    return
                raise CommandError("There is data already. `manage.py demo --reset` removes all of it first.")
            if Event.objects.filter(actor_label="demo data").exists():
                self.stderr.write("The demo data is incomplete. `manage.py demo --reset` makes it anew.")
            return
        self.make()

    def reached(self, days_ago: float) -> None:
        """Whoever waits sees that it moves."""
        self.stdout.write(f"\r  {days_ago:3.0f} days ago ", ending="")
        self.stdout.flush()

    def make(self) -> None:
        started = time.monotonic()
        self.stdout.write("Making demo data: eleven months of an invented organisation (about a minute, once) …")
        with connection.cursor() as cursor:
            # A power cut may take the last moments of invented data.
            cursor.execute("SET synchronous_commit TO off")
        logging.getLogger("celery").setLevel(logging.WARNING)
        # What was imported stays: the collector need not look through it again and again.
        gc.freeze()
        story = Story()
        story.tell(self.reached if self.stdout.isatty() else None)
        with transaction.atomic():
            record(actor=Actor.system("demo data"), act=FINISHED, subject=story.people["admin"])
        self.stdout.write(
            ("\r" if self.stdout.isatty() else "")
            + f"Demo data: {len(story.servers)} servers, {len(story.agents)} agents, {len(story.systems)} systems, "
            f"{len(story.people)} people in {time.monotonic() - started:.0f} s."
        )
