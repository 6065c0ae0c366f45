"""Look at one address as the registry does, and print what was found. Nothing is stored."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from registry.discovery.models import Snapshot
from registry.discovery.probing import ignore, probe

MARKS = {"doing": "…", "pass": "✓", "warn": "!", "fail": "✗"}


class Command(BaseCommand):
    help = (
        "Probe an MCP server over HTTP without a credential: which revision it speaks, what it lists, how it is "
        "guarded. Addresses inside your network need OUTBOUND_ALLOW. Ends with 1 unless it lists or asks for a token."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("url", metavar="URL")
        parser.add_argument("--json", action="store_true", help="print the whole result as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        def say(said: str, outcome: str) -> None:
            self.stdout.write(f"{MARKS[outcome]} {said}")

        # Whoever has this shell may ask any port that OUTBOUND_ALLOW opens.
        seen = probe(options["url"], say=ignore if options["json"] else say, vouched=None)
        if options["json"]:
            self.stdout.write(json.dumps(asdict(seen), ensure_ascii=False, indent=1))
        else:
            for tool in seen.listing.tools if seen.listing else ():
                self.stdout.write(f"  {tool['name']}")
        if seen.outcome not in (Snapshot.Outcome.LISTED, Snapshot.Outcome.PROTECTED):
            raise SystemExit(1)
