import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from registry.audit.queries import verify_chain


class Command(BaseCommand):
    help = (
        "Verify the audit chain from the first event on. Exit code 0 when every record is what was sealed; "
        "1, naming the first bad record, when not."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=["text", "json"], default="text")
        parser.add_argument(
            "--head",
            default="",
            help="A head noted earlier; it must still be a link of the chain, else records were cut off.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        report = verify_chain(known_head=options["head"])
        if options["format"] == "json":
            self.stdout.write(json.dumps({**asdict(report), "verified": report.verified}))
        elif report.verified:
            self.stdout.write(
                f"verified: {report.events} events in {report.batches} batches, "
                f"{report.unsealed} not sealed yet\nhead: {report.head}"
            )
        if not report.verified:
            raise CommandError(f"the chain is broken: {report.fault}")
