import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from registry.audit.notes import BadNote, read_keys
from registry.audit.queries import verify_log
from registry.audit.verifier import outcome, read_checkpoints


class Command(BaseCommand):
    help = (
        "Verify the audit log in the database from its first entry on, with the code that verifies exports offline. "
        "Exit code 0: everything is what was sealed; 1: a record is bad, and is named; 2: the question could not be "
        "read; 3: nothing is wrong, but the newest entries are not signed yet."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=["text", "json"], default="text")
        parser.add_argument("--root", default="", help="a root noted earlier; the log must still have had it once")
        parser.add_argument(
            "--checkpoint", action="append", default=[], metavar="FILE", help="checkpoints noted earlier, e.g. anchors"
        )
        parser.add_argument(
            "--key", action="append", default=[], metavar="FILE", help="public keys, instead of those in the database"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            keys = [key for path in options["key"] for key in read_keys(Path(path).read_text())]
            known = [each for path in options["checkpoint"] for each in read_checkpoints(Path(path).read_text(), keys)]
        except (OSError, UnicodeError, BadNote) as error:
            raise CommandError(f"cannot be verified: {error}", returncode=2) from error
        report = verify_log(keys=keys, known=known, known_root=options["root"])
        said, code = outcome(report)
        if options["format"] == "json":
            answer = {**asdict(report), "verified": report.verified, "fully_vouched": report.fully_vouched}
            self.stdout.write(json.dumps(answer))
        elif code != 1:
            self.stdout.write(said)
        if code:
            raise CommandError(said.splitlines()[-1], returncode=code)
