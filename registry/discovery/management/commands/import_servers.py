"""Import published server descriptions from files; the same job as in the browser, run here to its end."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from registry.accounts.models import User
from registry.core.actors import Actor
from registry.core.errors import RegistryError
from registry.discovery.formats import MAX_BYTES, read_document
from registry.discovery.plan import File, plan
from registry.discovery.queries import forecast, tally
from registry.discovery.services import import_entries

NOTHING = {"imported": 0, "updated": 0, "seen": 0, "skipped": 0, "refused": 0}


class Command(BaseCommand):
    help = (
        "Import server.json files (all generations, single, lists, registry answers) and Docker catalogue rows as "
        "drafts. Ends with 2 when a file could not be opened or decoded; refused entries are no error."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", metavar="FILE", type=Path)
        parser.add_argument("--report", choices=("text", "json"), default="text", help="what is printed at the end")
        parser.add_argument("--dry-run", action="store_true", help="tell what would happen and change nothing")
        parser.add_argument("--user", metavar="EMAIL", help="who imports; by default the first administrator")

    def handle(self, *args: Any, **options: Any) -> None:
        actor = self._actor(options["user"])
        files, told, unreadable = self._read(options["files"])
        report: dict[str, Any] = {"files": told, "counts": dict(NOTHING), "entries": []}
        if options["dry_run"]:
            expected = forecast(plan(files))
            report["counts"] = tally(expected)
            report["entries"] = [
                _row(each.entry.file, each.entry.index, each.entry.name, each.outcome, each.reasons, None)
                for each in expected
            ]
        elif any(file.rows for file in files):
            report["entries"] = self._import(actor, files)
            for row in report["entries"]:
                report["counts"][row["outcome"]] += 1
        if options["report"] == "json":
            self.stdout.write(json.dumps(report, ensure_ascii=False, indent=1))
        else:
            self._say(report, dry_run=options["dry_run"])
        if unreadable:
            raise SystemExit(2)

    def _actor(self, email: str | None) -> Actor:
        people = User.objects.filter(is_active=True)
        if email:
            user = people.filter(email__iexact=email).first()
            if user is None:
                raise CommandError(f"Nobody with the address {email} may act.")
            return Actor.person(user)
        administrator = people.filter(roles__contains=["administrator"]).order_by("created_at").first()
        return Actor.person(administrator) if administrator else Actor.system("import_servers")

    def _read(self, paths: list[Path]) -> tuple[list[File], list[dict[str, Any]], bool]:
        """The files that hold servers, what to tell of each file, and whether one could not be read at all."""
        files, told, unreadable = [], [], False
        for path in paths:
            why, rows = "", []
            try:
                if path.stat().st_size > MAX_BYTES:
                    why = "This is larger than 10 MB. Split it."
                else:
                    rows = read_document(path.read_bytes().decode("utf-8-sig"), file=str(path))
                    files.append(File(path.name, rows))
            except OSError as error:
                why, unreadable = f"This cannot be opened: {error.strerror}.", True
            except UnicodeDecodeError:
                why, unreadable = "This is not UTF-8 text.", True
            except RegistryError as error:
                why = error.message
            told.append(
                {
                    "file": str(path),
                    "outcome": "refused" if why else "read",
                    "entries": len(rows),
                    "reasons": [why] if why else [],
                }
            )
        return files, told, unreadable

    def _import(self, actor: Actor, files: list[File]) -> list[dict[str, Any]]:
        try:
            job = import_entries(actor=actor, files=files)
        except RegistryError as error:
            raise CommandError(
                "; ".join([error.message, *(text for said in error.fields.values() for text in said)])
            ) from error
        return [
            _row(each.file, each.index, each.name, each.outcome, each.reasons, each.server_id)
            for each in job.results.order_by("position")
        ]

    def _say(self, report: dict[str, Any], *, dry_run: bool) -> None:
        for file in report["files"]:
            self.stdout.write(f"{file['file']}: {'; '.join(file['reasons']) or str(file['entries']) + ' entries'}")
        for row in report["entries"]:
            name = row["name"] or f"{row['file']} {row['index']}"
            why = f" ({'; '.join(row['reasons'])})" if row["reasons"] else ""
            self.stdout.write(f"{row['outcome']:<9} {name}{why}")
        words = ", ".join(f"{count} {outcome}" for outcome, count in report["counts"].items())
        self.stdout.write(f"{'Would be: ' if dry_run else ''}{words}")


def _row(file: str, index: int, name: str, outcome: str, reasons: list[str], server_id: Any) -> dict[str, Any]:
    return {
        "file": file,
        "index": index,
        "name": name,
        "outcome": str(outcome),
        "reasons": reasons,
        "server_id": str(server_id) if server_id else None,
    }
