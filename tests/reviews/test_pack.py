"""Audit packs: they say what the database says, their verifier names what was changed, and only some may take them."""

import csv
import hashlib
import io
import json
import tracemalloc
import zipfile
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django import conf
from django.urls import reverse
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.accounts.models import User
from registry.audit.models import Event
from registry.audit.notes import PublicKey, public_key, sign
from registry.audit.queries import public_keys
from registry.catalog.models import Server
from registry.core import clock
from registry.core.canonical import canonical_json
from registry.core.errors import Conflict, Invalid, NotAllowed, NotFound
from registry.core.inert import visible
from registry.reviews import services as reviews
from registry.reviews.models import AuditPack, Campaign, Decision, Item, Remediation, SignOff, WorkItem
from registry.reviews.pack_format import (
    DECISIONS,
    MANIFEST,
    NOTE,
    POPULATION,
    SNAPSHOTS,
    evidence_line,
    frozen_stake,
    pack_note_text,
    read_evidence,
)
from registry.reviews.pack_verifier import SHAPES, main, outcome, verify_pack
from registry.reviews.packs import contents
from registry.reviews.packs.archive import PackWriter
from registry.reviews.services import packs
from registry.reviews.states import PackState
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module", autouse=True)
def signing(tmp_path_factory):
    """One key for all packs of the module."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("packs")
        patch.setattr(conf.settings, "AUDIT_SIGNING_KEY_FILE", str(folder / "key.pem"))
        patch.setattr(conf.settings, "PACKS_DIR", str(folder / "kept"))
        yield


@pytest.fixture(scope="module")
def world(kept, signing):
    """A campaign with a signed certify, reduce and revoke, one subject that was left out, and its pack."""
    reviewer, auditor = make.person("reviewer", name="Rita Reviewer"), make.person("auditor")
    server = make.active_server(title="Warehouse SQL")
    make.grant(server=server, tools=["query", "export"], agent=make.agent(name="Forecast agent"))
    make.connection(server=server)
    make.active_server(title="Elsewhere")
    make.campaign(reviewer, kinds=["server"], scope={"q": "Elsewhere"})
    campaign = make.campaign(reviewer)
    items = {item.kind: item for item in campaign.items.all()}
    make.decide(items["server"], "certify", reason="=HYPERLINK()")
    make.decide(items["grant"], "certify_reduced", kept=["query"])
    make.decide(items["connection"], "revoke", reason="Two\nlines")
    make.sign(campaign, reviewer)
    pack = made(auditor, campaign)
    return SimpleNamespace(
        reviewer=reviewer.pk, auditor=auditor.pk, campaign=campaign.pk, pack=pack, path=pack.path, keys=public_keys()
    )


@pytest.fixture
def folder(settings, tmp_path):
    settings.PACKS_DIR = str(tmp_path / "packs")
    return tmp_path / "packs"


@pytest.fixture
def campaign(world, db, folder):
    return Campaign.objects.select_related("owner").get(pk=world.campaign)


@pytest.fixture
def reviewer(world, db):
    return User.objects.get(pk=world.reviewer)


@pytest.fixture
def auditor(world, db):
    return User.objects.get(pk=world.auditor)


@pytest.fixture
def pack(world):
    """The kept pack: what a test does to it, it does to a copy."""
    return SimpleNamespace(path=world.path, manifest_digest=world.pack.manifest_digest)


def made(actor, campaign) -> AuditPack:
    pack = packs.pack_campaign(actor=make.acting(actor), campaign=campaign)
    packs.make_pack(pack_id=pack.pk)
    pack.refresh_from_db()
    assert pack.state == PackState.READY, pack.failure
    return pack


def rows_of(pack: AuditPack, name: str) -> list[dict[str, str]]:
    with zipfile.ZipFile(pack.path) as archive:
        text = archive.read(name).decode()
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in text.splitlines()]
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def rewritten(pack: AuditPack, name: str, change) -> Path:
    """A copy of the archive in which one file is another; `change` of None leaves it out."""
    copy = pack.path.with_suffix(".changed.zip")
    with zipfile.ZipFile(pack.path) as source, zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED) as target:
        for each in source.namelist():
            content = source.read(each)
            if each == name:
                content = change(content)
            if content is not None:
                target.writestr(each, content)
    return copy


def without_line(number: int):
    def change(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        del lines[number - 1]
        return b"".join(lines)

    return change


class TestContent:
    def test_is_what_the_database_holds(self, pack, campaign, reviewer):
        population = rows_of(pack, POPULATION)
        assert len(population) == campaign.population.count() == campaign.total
        assert {row["item"]: row["state"] for row in population if row["item"]} == {
            str(pk): state for pk, state in campaign.items.values_list("pk", "state")
        }
        (left_out,) = [row for row in population if not row["included"]]
        assert "It is reviewed in" in left_out["excluded_because"]
        decisions = {row["id"]: row for row in rows_of(pack, DECISIONS)}
        assert set(decisions) == set(
            map(str, Decision.objects.filter(signed_at__isnull=False).values_list("pk", flat=True))
        )
        for row in decisions.values():
            held = Decision.objects.get(pk=row["id"])
            assert (row["value"], row["reason"], row["evidence_hash"]) == (held.value, held.reason, held.evidence_hash)
            assert row["reviewer_email"] == reviewer.email
        (signature,) = rows_of(pack, "sign-offs.jsonl")
        assert signature["root"] == SignOff.objects.get(campaign=campaign).decisions_root
        assert len(rows_of(pack, "assignments.csv")) == WorkItem.objects.filter(item__campaign=campaign).count()
        assert {row["id"] for row in rows_of(pack, "remediations.csv")} == set(
            map(str, Remediation.objects.filter(item__campaign=campaign).values_list("pk", flat=True))
        )
        (about,) = rows_of(pack, "campaigns.jsonl")
        assert (about["population"], about["items"], about["excluded"]) == (4, 3, 1)
        assert (about["scope_hash"], about["population_hash"]) == (campaign.scope_hash, campaign.population_hash)
        evidence = {read_evidence(line)[1] for line in raw(pack, SNAPSHOTS).splitlines()}
        assert evidence == set(campaign.items.values_list("evidence_hash", flat=True))

    def test_says_who_has_a_stake_and_that_the_reviewer_has_none(self, pack, campaign, auditor, reviewer):
        rows = rows_of(pack, "assignments.csv")
        server = Item.objects.get(campaign=campaign, kind="server").server
        about = next(row for row in rows if row["kind"] == "server")
        assert f"{server.owner.name}: owns the server" in about["stakeholders"]
        assert f"{campaign.owner.name}: owns this campaign" in about["stakeholders"]
        assert {row["independent"] for row in rows} == {"yes"}
        assert about["because"] == "Rita Reviewer is none of the stakeholders."
        server.owner = reviewer
        server.save()
        rows = rows_of(made(auditor, campaign), "assignments.csv")
        assert {row["independent"] for row in rows} == {"stake today"}, "who owns it today is not hidden"

    def test_runs_nothing_in_a_spreadsheet_and_no_script_in_a_browser(self, pack, campaign, auditor):
        (row,) = [row for row in rows_of(pack, "decisions.csv") if row["kind"] == "server"]
        assert row["reason"] == "'=HYPERLINK()"
        campaign.owner.name = "<script>alert(1)</script>"
        campaign.owner.save()
        text = raw(made(auditor, campaign), "summary.html").decode()
        assert "<script" not in text
        assert "&lt;script&gt;" in text
        assert "http" not in text.split("</style>")[1].replace("http-equiv", ""), "it asks nobody for anything"
        assert "Removals that nobody independent has seen" in text

    def test_drafts_are_their_authors_business(self, auditor, reviewer, folder):
        make.active_server(title="Drafted")
        campaign = make.campaign(reviewer, kinds=["server"], scope={"q": "Drafted"})
        make.decide(campaign.items.get(), "revoke", reason="Between us")
        pack = made(auditor, campaign)
        with zipfile.ZipFile(pack.path) as archive:
            for name in archive.namelist():
                assert b"Between us" not in archive.read(name), name

    def test_controls_without_rows_are_no_evidence(self, pack, world):
        rows = {row["control"]: row for row in rows_of(pack, "controls.csv")}
        assert rows["ID.RA-07"]["state"] == "no data", "there is no exception"
        assert rows["AC-6(7)"]["state"] == "evidence"
        with zipfile.ZipFile(pack.path) as archive:
            named = {file for row in rows.values() for file in row["files"].split()}
            assert named <= set(archive.namelist())

    def test_of_a_period_holds_what_was_under_way_and_the_whole_log_of_it(self, campaign, auditor):
        today = clock.today()
        pack = packs.pack_period(actor=make.acting(auditor), since=today - timedelta(days=2), until=today)
        packs.make_pack(pack_id=pack.pk)
        pack.refresh_from_db()
        assert pack.state == PackState.READY, pack.failure
        assert str(campaign.pk) in {row["campaign"] for row in rows_of(pack, "campaigns.jsonl")}
        assert {"grant", "connection"} <= {row["kind"] for row in rows_of(pack, "access.csv")}
        report = verify_pack(pack.path, public_keys())
        assert (report.fault, report.signed) == ("", True)
        assert report.events > 10

    def test_memory_does_not_grow_with_the_rows(self, tmp_path, prompt_collector):
        def peak(number: int) -> int:
            rows = ({name: f"value {name}" for name in contents.POPULATION_COLUMNS} for _n in range(number))
            with (tmp_path / "many.zip").open("wb") as file, PackWriter(file, clock.now()) as archive:
                tracemalloc.start()
                assert archive.csv("population.csv", contents.POPULATION_COLUMNS, rows) == number
                _now, most = tracemalloc.get_traced_memory()
                tracemalloc.stop()
            return most

        few, many = peak(500), peak(5_000)
        assert many - few < 5_000 * 32, "eight bytes per line, and room for them to grow"


def raw(pack: AuditPack, name: str) -> bytes:
    with zipfile.ZipFile(pack.path) as archive:
        return archive.read(name)


class TestVerifier:
    @pytest.fixture
    def keys(self, world):
        return world.keys

    def test_believes_what_is_whole(self, pack, keys):
        report = verify_pack(pack.path, keys)
        assert (report.fault, report.signed, report.vouched) == ("", True, True)
        assert (report.population, report.items, report.decisions, report.campaigns) == (4, 3, 3, 1)
        assert report.manifest == pack.manifest_digest

    def test_command(self, pack, keys, tmp_path, capsys):
        file = tmp_path / "keys"
        file.write_text("\n".join(map(str, keys)))
        assert main([str(pack.path), "--key", str(file)]) == 0
        assert capsys.readouterr().out.startswith("verified:")
        assert main([str(pack.path)]) == 3
        assert "which was not given" in capsys.readouterr().out
        assert main([str(pack.path), "--key", str(tmp_path / "nowhere")]) == 2
        changed = rewritten(pack, "decisions.csv", without_line(2))
        assert main([str(changed), "--key", str(file)]) == 1
        assert "decisions.csv" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("name", "change", "said"),
        [
            ("population.csv", without_line(3), "population.csv was changed: line 3 is missing"),
            (DECISIONS, without_line(2), "decisions.jsonl was changed: line 2 is missing"),
            (DECISIONS, lambda text: text.replace(b'"revoke"', b'"certify"'), "decisions.jsonl was changed: line"),
            ("exceptions.csv", lambda text: text + b"x\r\n", "exceptions.csv was changed: line 2 was added"),
            ("summary.html", lambda text: text.replace(b"settled", b"Settled", 1), "summary.html was changed"),
            (SNAPSHOTS, lambda text: text.replace(b"Forecast", b"Forecost", 1), "snapshots.jsonl was changed: line"),
            ("audit/extract.jsonl", without_line(4), "audit/extract.jsonl was changed"),
            ("manifest.json", lambda text: text.replace(b"steward-pack/1", b"steward-pack/1", 1)[:-1], "manifest.json"),
            ("manifest.note", lambda text: text.replace(b"pack", b"sack", 1), "not the one that was signed"),
            ("statistics.json", lambda _text: None, "statistics.json is missing"),
        ],
    )
    def test_names_what_was_changed(self, pack, keys, name, change, said):
        assert said in verify_pack(rewritten(pack, name, change), keys).fault

    def test_names_the_evidence_that_was_changed(self, pack, keys, campaign):
        grant = campaign.items.get(kind="grant")
        changed = rewritten(pack, SNAPSHOTS, lambda text: text.replace(b"Forecast", b"Forecost", 1))
        assert f"the evidence {grant.evidence_hash} was changed" in verify_pack(changed, keys).fault

    def test_names_the_file_of_a_flipped_byte(self, pack, keys):
        with zipfile.ZipFile(pack.path) as archive:
            info = archive.getinfo("remediations.csv")
        content = bytearray(pack.path.read_bytes())
        content[info.header_offset + 30 + len(info.filename) + 40] ^= 1
        changed = pack.path.with_suffix(".flipped.zip")
        changed.write_bytes(content)
        assert "remediations.csv" in verify_pack(changed, keys).fault

    def test_a_file_that_was_added_is_named(self, pack, keys):
        changed = rewritten(pack, "VERIFY.md", lambda content: content)
        with zipfile.ZipFile(changed, "a") as archive:
            archive.writestr("more.csv", "x")
        assert verify_pack(changed, keys).fault == "more.csv was added: the manifest does not know it"

    def test_no_archive_and_another_registrys_key(self, pack, keys, tmp_path):
        nothing = tmp_path / "nothing.zip"
        nothing.write_bytes(b"nothing")
        assert verify_pack(nothing, keys).fault == "this is no readable archive"
        assert not verify_pack(pack.path, []).signed


def repacked(pack, *, key=None, days=0, packing=zipfile.ZIP_STORED, **contents) -> Path:
    """A copy of the archive with other contents, a manifest that names them, and a signature `days` from then."""
    key = key or Ed25519PrivateKey.generate()
    copy = pack.path.with_suffix(".repacked.zip")
    with zipfile.ZipFile(pack.path) as source, zipfile.ZipFile(copy, "w", packing) as target:
        manifest = json.loads(source.read(MANIFEST))
        replaced = {name.replace("__", "/").replace("_", "."): content for name, content in contents.items()}
        for each in manifest["files"]:
            content = replaced.get(each["name"], source.read(each["name"]))
            target.writestr(each["name"], content)
            each |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        made_at = datetime.fromisoformat(manifest["made_at"]) + timedelta(days=days)
        manifest["made_at"] = made_at.isoformat()
        written = canonical_json(manifest)
        target.writestr(MANIFEST, written)
        text = pack_note_text(manifest["origin"], hashlib.sha256(written).hexdigest(), made_at.isoformat())
        target.writestr(NOTE, sign(text, manifest["origin"], key))
    return copy


class TestReplacedKey:
    """A key that signs no more must not sign packs of today, however they are dated."""

    @pytest.fixture
    def old(self):
        return Ed25519PrivateKey.generate()

    @pytest.fixture
    def keys(self, world, old):
        (current,) = world.keys
        ended = current.valid_from - timedelta(days=30)
        replaced = public_key(current.name, old)
        return [current, PublicKey(replaced.name, replaced.raw, ended - timedelta(days=300), ended)]

    def test_a_summary_signed_by_it_today_is_a_fault(self, pack, keys, old):
        forged = repacked(pack, key=old, summary_html=b"<h1>Nothing is open</h1>")
        fault = verify_pack(forged, keys).fault
        assert "outside the validity of the key" in fault
        assert f"it was replaced at {keys[1].valid_until.isoformat()}" in fault

    def test_dated_back_it_is_older_than_what_it_names(self, pack, keys, old):
        forged = repacked(pack, key=old, days=-60, summary_html=b"<h1>Nothing is open</h1>")
        assert "after the pack was signed" in verify_pack(forged, keys).fault

    def test_without_dates_nothing_says_that_it_was_replaced(self, pack, keys, old):
        forged = repacked(pack, key=old, summary_html=b"<h1>Nothing is open</h1>")
        report = verify_pack(forged, [PublicKey(key.name, key.raw) for key in keys])
        assert (report.fault, report.signed) == ("", False)
        assert any("no dates" in each for each in report.remarks)

    def test_what_it_signed_in_its_time_still_verifies_and_is_told_apart(self, pack, world):
        (current,) = world.keys
        later = [PublicKey(current.name, current.raw, current.valid_from, clock.now() + timedelta(days=1))]
        report = verify_pack(pack.path, later)
        assert (report.fault, report.signed) == ("", True)
        assert "could have written it since" in report.remarks[0]


class TestMalformed:
    """Whatever somebody packs and signs with a key of their own, the verifier names a fault and does not fall over."""

    @pytest.mark.parametrize("name", ["campaigns_jsonl", "population_jsonl", "decisions_jsonl", "sign-offs_jsonl"])
    @pytest.mark.parametrize("line", [b'{"a":1}', b"[]", b"1", b"\xff", b"[" * 100_000, b'{"a":1e999}', b""])
    def test_lines_of_another_shape(self, pack, name, line):
        report = verify_pack(repacked(pack, **{name: line + b"\n"}))
        assert f"{name.replace('_', '.')}, line 1 is not as it was written" in report.fault
        assert outcome(report)[1] == 1

    def test_columns_of_another_kind(self, pack):
        """Every column that is read, with values that it might not expect: a fault, or a pack no key vouches for."""
        for name, shape in SHAPES.items():
            first, *others = raw(pack, name).splitlines(keepends=True)
            for column in shape:
                for value in (None, -1, "z", {"a": [1]}):
                    changed = canonical_json({**json.loads(first), column: value}) + b"\n"
                    report = verify_pack(repacked(pack, **{name.replace(".", "_"): b"".join([changed, *others])}))
                    assert outcome(report)[1] in (1, 3), (name, column, value)

    @pytest.mark.parametrize("file", ["snapshots", "blocks"])
    @pytest.mark.parametrize(
        "content", [b"1", b"{}", b'{"context":1,"facts":[]}', b'{"context":{"block":[1]}}', b"\xff"]
    )
    def test_evidence_of_another_shape(self, pack, file, content):
        line = evidence_line(content, hashlib.sha256(content).hexdigest()) + b"\n"
        report = verify_pack(repacked(pack, **{f"evidence__{file}_jsonl": line}))
        assert "evidence/" in report.fault and outcome(report)[1] == 1

    @pytest.mark.parametrize(
        "change",
        [
            lambda found: found["files"][0].update(size="9"),
            lambda found: found["files"][0].update(size=-1),
            lambda found: found["files"][0].pop("size"),
            lambda found: found["files"][0].update(sha256="zz"),
            lambda found: found["files"][0].update(name=["x"]),
            lambda found: found.update(files={"a": 1}),
            lambda found: found.update(files=[1]),
            lambda found: found.pop("made_at"),
            lambda found: found.update(made_at=7),
        ],
    )
    def test_manifests(self, pack, change):
        manifest = json.loads(raw(pack, MANIFEST))
        change(manifest)
        written = canonical_json(manifest)
        origin, digest = manifest["origin"], hashlib.sha256(written).hexdigest()
        note = sign(pack_note_text(origin, digest, clock.now().isoformat()), origin, Ed25519PrivateKey.generate())
        copy = rewritten(pack, MANIFEST, lambda _old: written)
        copy = rewritten(SimpleNamespace(path=copy), NOTE, lambda _old: note.encode())
        assert MANIFEST in verify_pack(copy).fault

    def test_a_file_of_nothing_but_zeros_takes_little_memory(self, pack):
        zeros = bytes(60_000_000)
        packed = repacked(pack, packing=zipfile.ZIP_DEFLATED, population_jsonl=zeros)
        del zeros
        tracemalloc.start()
        report = verify_pack(packed)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert report.fault == "population.jsonl, line 1 is longer than any that was ever written"
        assert peak < 16_000_000

    def test_archives_with_a_flipped_bit_anywhere_never_fall_over(self, pack, world):
        content = pack.path.read_bytes()
        copy = pack.path.with_suffix(".bits.zip")

        @settings(max_examples=60, deadline=None)
        @given(st.integers(0, len(content) - 1), st.integers(0, 7))
        def attempt(place, bit):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            copy.write_bytes(changed)
            report = verify_pack(copy, world.keys)
            # What the archive says around the files (times, versions, comments) is not part of them.
            assert report.fault or report.manifest == pack.manifest_digest

        attempt()

    def test_a_flipped_bit_of_any_file_is_named(self, pack, world):
        """Of the bytes that were packed, not of the archive around them."""
        with zipfile.ZipFile(pack.path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}

        @settings(max_examples=60, deadline=None)
        @given(st.sampled_from(sorted(files)), st.integers(0), st.integers(0, 7))
        def attempt(name, place, bit):
            def flip(content):
                changed = bytearray(content)
                changed[place % len(content)] ^= 1 << bit
                return bytes(changed)

            report = verify_pack(rewritten(pack, name, flip), world.keys)
            assert name in report.fault or "manifest" in report.fault, report.fault
            if name.endswith(".jsonl") and not name.startswith("lines/"):
                assert f"line {files[name][: place % len(files[name])].count(10) + 1}" in report.fault

        attempt()


class TestNamesThatHide:
    def test_are_spelled_out_in_what_people_read(self, campaign, auditor):
        Campaign.objects.filter(pk=campaign.pk).update(name="Q3\u202eweiver\u200b\ufe0f")
        pack = made(auditor, campaign)
        for name in ("summary.html", "VERIFY.md"):
            text = raw(pack, name).decode()
            assert "Q3[U+202E]weiver[U+200B][U+FE0F]" in text
            assert visible(text) == text
        assert rows_of(pack, "campaigns.jsonl")[0]["name"] == "Q3\u202eweiver\u200b\ufe0f", "evidence stays as it is"

    def test_do_not_reach_a_terminal(self, pack):
        (row,) = rows_of(pack, "campaigns.jsonl")
        changed = canonical_json({**row, "name": "\x1b[2J\u202e", "population": 9}) + b"\n"
        said, code = outcome(verify_pack(repacked(pack, campaigns_jsonl=changed)))
        assert code == 1 and "[U+001B]" in said and visible(said) == said


def decided_by(decisions, person, scope):
    """The decisions of a pack, as if somebody else had given the one on the grant."""
    for row in decisions(scope):
        yield {**row, "reviewer": person} if row["kind"] == "grant" else row


class TestConflicts:
    """Stakes of those who decided: in the evidence, and today."""

    def test_of_the_pack_are_none(self, pack, keys_of):
        report = verify_pack(pack.path, keys_of)
        assert report.conflicts == 0
        assert json.loads(raw(pack, "statistics.json"))["conflicts"] == 0
        assert {row["stakes_today"] for row in rows_of(pack, DECISIONS)} == {""}

    @pytest.fixture
    def keys_of(self, world):
        return world.keys

    def registered_by(self, server, person):
        """As somebody could who writes to the database: no service would."""
        Server.objects.filter(pk=server.pk).update(created_by=person, submitted_by=person)

    def test_a_registrant_who_certified_is_named_everywhere(self, campaign, auditor, reviewer):
        server = campaign.items.get(kind="server").server
        self.registered_by(server, reviewer)
        pack = made(auditor, campaign)
        counts = json.loads(raw(pack, "statistics.json"))
        # the server itself, the grant to it and its connection
        assert (counts["conflicts"], counts["conflicts_decided"], counts["conflicts_in_evidence"]) == (3, 3, 0)
        summary = raw(pack, "summary.html").decode()
        assert "Assignments decided by somebody who has a stake in the item today, see assignments.csv: 3." in summary
        assert "3 assignments are with somebody who has a stake today." in summary
        assert "Nobody decides on what they own" not in summary
        assert "Nothing: every item" not in summary
        states = {row["control"]: row["state"] for row in rows_of(pack, "controls.csv")}
        assert (states["AC-5"], states["AC-2"], states["CC6.3"]) == ("conflicts",) * 3
        report = verify_pack(pack.path, public_keys())
        assert (
            "decisions.jsonl, line 1: " in report.fault
            and "registered the server, which does not change" in report.fault
        )
        assert outcome(report)[1] == 1

    def test_who_became_its_owner_afterwards_is_told_and_is_no_fault(self, campaign, auditor, reviewer):
        server = campaign.items.get(kind="server").server
        Server.objects.filter(pk=server.pk).update(owner=reviewer)
        report = verify_pack(made(auditor, campaign).path, public_keys())
        said, code = outcome(report)
        assert (code, report.conflicts) == (0, 3)
        assert "and today owns the server" in said and "conflicts: 3 decisions" in said

    def test_what_the_evidence_says_against_a_decision_is_open(self, campaign, auditor):
        """The answer given to whoever asked for the grant, by somebody with the database."""
        grant = campaign.items.get(kind="grant")
        WorkItem.objects.filter(item=grant).update(reviewer=grant.grant.requested_by_id)
        pack = made(auditor, campaign)
        assert json.loads(raw(pack, "statistics.json"))["conflicts_in_evidence"] == 1
        assert "by the evidence they decided on: 1." in raw(pack, "summary.html").decode()
        assert "registered" in (fault := verify_pack(pack.path, public_keys()).fault) or "requested" in fault

    def test_whoever_requested_or_registered_it_by_the_evidence_cannot_have_decided(
        self, campaign, auditor, monkeypatch
    ):
        whole, grant = contents.decisions, campaign.items.get(kind="grant").grant
        for person in (grant.requested_by_id, grant.server.created_by_id, grant.agent.created_by_id):
            monkeypatch.setattr(contents, "decisions", partial(decided_by, whole, str(person)))
            fault = verify_pack(made(auditor, campaign).path, public_keys()).fault
            assert f"{person} decided on" in fault and "says that they are its" in fault

    @pytest.mark.parametrize(
        ("role", "said"),
        [("registered", "registrant"), ("requested", "requester"), ("agent_registered", "agent's side")],
    )
    def test_frozen_evidence_names_more_than_owners(self, campaign, role, said):
        grant = campaign.items.get(kind="grant")
        stakes = {**grant.evidence["context"]["server"]["stakes"], **grant.snapshot["context"]["stakes"]}
        assert stakes["owner"] == str(grant.grant.server.owner_id)
        assert said in frozen_stake(grant.snapshot["facts"], stakes, stakes[role])


class TestForgedBySomebodyWithTheKey:
    """Whoever can sign still cannot make the files contradict each other unseen."""

    @pytest.mark.parametrize(
        ("where", "said"),
        [
            ("population", "does not tie out"),
            ("decisions", "with another root"),
            ("snapshots", "is not in evidence/snapshots.jsonl"),
        ],
    )
    def test_the_contradiction_is_named(self, campaign, auditor, monkeypatch, where, said):
        whole = getattr(contents, where)

        def without_the_first(scope):
            rows = iter(whole(scope))
            next(rows)
            yield from ({**row, "position": row["position"] - 1} if where == "population" else row for row in rows)

        monkeypatch.setattr(contents, where, without_the_first)
        assert said in verify_pack(made(auditor, campaign).path, public_keys()).fault

    def test_whoever_owned_it_by_the_evidence_cannot_have_decided(self, campaign, auditor, monkeypatch):
        whole, owner = contents.decisions, str(campaign.items.get(kind="server").server.owner_id)
        monkeypatch.setattr(contents, "decisions", lambda scope: ({**row, "reviewer": owner} for row in whole(scope)))
        assert f"{owner} decided on" in verify_pack(made(auditor, campaign).path, public_keys()).fault


class TestWhoMay:
    def test_asks(self, campaign, reviewer):
        for person in (make.person("auditor"), make.person("security"), make.person("administrator"), campaign.owner):
            assert packs.pack_campaign(actor=make.acting(person), campaign=campaign).state == PackState.WAITING
        assert AuditPack.objects.filter(state=PackState.WAITING).count() == 1, (
            "one that is being made is the answer to all of them"
        )
        for person in (reviewer, make.person(), make.person("campaign_manager")):
            with pytest.raises(NotAllowed):
                packs.pack_campaign(actor=make.acting(person), campaign=campaign)
        day = clock.today()
        for person in (campaign.owner, reviewer):
            with pytest.raises(NotAllowed):
                packs.pack_period(actor=make.acting(person), since=day, until=day)

    def test_takes(self, web, api, campaign, auditor, reviewer):
        pack = made(campaign.owner, campaign)
        url = reverse("reviews:pack_file", args=[pack.pk])
        for person, status in ((campaign.owner, 200), (auditor, 200), (reviewer, 404), (make.person(), 404)):
            assert web(person).get(url).status_code == status
            assert web(person).get(reverse("reviews:pack", args=[pack.pk])).status_code == status
            assert api(person).get(reverse("api:audit-pack-file", args=[pack.pk])).status_code == status
        assert web().get(url).status_code == 302
        assert Event.objects.filter(act="pack.exported", actor_id=auditor.pk, subject_id=pack.pk).exists()

    def test_a_token_that_only_reads_takes_and_does_not_ask(self, api, campaign, auditor):
        pack = made(auditor, campaign)
        reading = api(auditor, "reviews.packs:read", "reviews.campaigns:read")
        assert reading.get(reverse("api:audit-pack-file", args=[pack.pk])).status_code == 200
        asked = reading.post(reverse("api:audit-pack-list"), {"campaign": str(campaign.pk)})
        assert asked.status_code == 403
        with pytest.raises(NotFound):
            packs.note_download(actor=make.acting(make.person()), pack=pack)

    def test_the_pack_of_a_period_is_not_the_campaign_owners(self, web, campaign, auditor):
        day = clock.today()
        pack = packs.pack_period(actor=make.acting(auditor), since=day, until=day)
        assert web(campaign.owner).get(reverse("reviews:pack", args=[pack.pk])).status_code == 404
        assert web(auditor).get(reverse("reviews:pack", args=[pack.pk])).status_code == 200

    def test_a_period_has_an_order_and_a_length(self, auditor):
        day = clock.today()
        for since, until, field in (
            (day, day - timedelta(days=1), "until"),
            (day - timedelta(days=400), day, "until"),
            (day + timedelta(days=1), day + timedelta(days=2), "since"),
        ):
            with pytest.raises(Invalid) as refused:
                packs.pack_period(actor=make.acting(auditor), since=since, until=until)
            assert field in refused.value.fields


class TestPages:
    def test_from_the_button_to_the_file(self, web, campaign, auditor):
        client = web(auditor)
        page = client.get(reverse("reviews:campaign", args=[campaign.pk])).content.decode()
        assert reverse("reviews:campaign_pack", args=[campaign.pk]) in page
        answer = client.post(reverse("reviews:campaign_pack", args=[campaign.pk]))
        pack = AuditPack.objects.latest("pk")
        assert answer["Location"] == reverse("reviews:pack", args=[pack.pk])
        assert 'hx-trigger="every 2s"' in client.get(answer["Location"]).content.decode()
        assert client.get(reverse("reviews:pack_progress", args=[pack.pk])).status_code == 200
        packs.make_pack(pack_id=pack.pk)
        assert client.get(reverse("reviews:pack_progress", args=[pack.pk]))["HX-Refresh"] == "true"
        assert "pack_verifier" in client.get(answer["Location"]).content.decode()
        file = client.get(reverse("reviews:pack_file", args=[pack.pk]))
        pack.refresh_from_db()
        assert file.streaming
        assert b"".join(file.streaming_content) == pack.path.read_bytes()
        assert file["ETag"] == f'"{pack.digest}"'
        again = client.get(reverse("reviews:pack_file", args=[pack.pk]), HTTP_IF_NONE_MATCH=file["ETag"])
        assert again.status_code == 304

    def test_list_asks_a_fixed_number_of_questions(self, web, campaign, auditor, django_assert_max_num_queries):
        client = web(auditor)
        client.get(reverse("reviews:packs"))
        with django_assert_max_num_queries(16):
            page = client.get(reverse("reviews:packs")).content.decode()
        assert reverse("reviews:pack", args=[AuditPack.objects.get().pk]) in page

    def test_a_period_is_asked_for_with_the_form(self, web, auditor):
        before = AuditPack.objects.count()
        client = web(auditor)
        assert reverse("reviews:packs") in client.get(reverse("reviews:statistics")).content.decode()
        day = clock.today()
        wrong = client.post(reverse("reviews:packs"), {"since": day, "until": day - timedelta(days=1)})
        assert (wrong.status_code, AuditPack.objects.count()) == (422, before)
        right = client.post(reverse("reviews:packs"), {"since": day, "until": day})
        assert right["Location"] == reverse("reviews:pack", args=[AuditPack.objects.latest("pk").pk])

    def test_rest(self, api, campaign, auditor):
        client = api(auditor)
        asked = client.post(reverse("api:audit-pack-list"), {"campaign": str(campaign.pk)}, format="json")
        assert (asked.status_code, asked.json()["state"]) == (201, "waiting")
        waits = client.get(reverse("api:audit-pack-file", args=[asked.json()["id"]]))
        assert waits.status_code == 409
        packs.make_pack(pack_id=asked.json()["id"])
        listed, _kept = client.get(reverse("api:audit-pack-list"), {"campaign": str(campaign.pk)}).json()["results"]
        assert (listed["state"], listed["digest"]) == ("ready", AuditPack.objects.latest("pk").digest)
        both = client.post(
            reverse("api:audit-pack-list"), {"campaign": str(campaign.pk), "since": "2026-01-01"}, format="json"
        )
        assert both.status_code == 422


class TestLife:
    def test_expires_and_is_made_again(self, web, campaign, auditor, settings):
        settings.PACK_DAYS = 30
        pack = made(auditor, campaign)
        packs.sweep_packs(now=clock.now() + timedelta(days=29))
        assert pack.path.exists()
        with django_commits():
            packs.sweep_packs(now=clock.now() + timedelta(days=31))
        pack.refresh_from_db()
        assert (pack.state, pack.path.exists()) == (PackState.EXPIRED, False)
        assert web(auditor).get(reverse("reviews:pack_file", args=[pack.pk])).status_code == 302
        web(auditor).post(reverse("reviews:pack_again", args=[pack.pk]))
        assert AuditPack.objects.filter(state=PackState.WAITING, campaign=campaign).count() == 1
        assert Event.objects.filter(act="pack.expired", subject_id=pack.pk).exists()

    def test_a_failing_step_leaves_its_reason_and_no_file(self, campaign, auditor, monkeypatch, folder):
        def broken(scope):
            raise ZeroDivisionError
            yield

        monkeypatch.setattr(contents, "remediations", broken)
        pack = packs.pack_campaign(actor=make.acting(auditor), campaign=campaign)
        with pytest.raises(ZeroDivisionError):
            packs.make_pack(pack_id=pack.pk)
        pack.refresh_from_db()
        assert (pack.state, pack.digest) == (PackState.FAILED, "")
        assert "could not be made (ZeroDivisionError)" in pack.failure
        assert list(folder.iterdir()) == []
        assert Event.objects.filter(act="pack.failed", subject_id=pack.pk).exists()

    def test_without_a_key_nothing_is_packed(self, campaign, auditor, settings, folder):
        settings.AUDIT_SIGNING_KEY_FILE = ""
        pack = packs.pack_campaign(actor=make.acting(auditor), campaign=campaign)
        assert packs.make_pack(pack_id=pack.pk) is None
        pack.refresh_from_db()
        assert pack.state == PackState.FAILED
        assert pack.failure
        assert list(folder.iterdir()) == []

    def test_is_made_once_and_taken_up_again_when_its_worker_died(self, campaign, auditor):
        pack = made(auditor, campaign)
        assert packs.make_pack(pack_id=pack.pk) is None
        waiting = packs.pack_campaign(actor=make.acting(auditor), campaign=campaign)
        AuditPack.objects.filter(pk=waiting.pk).update(state=PackState.MAKING)
        assert packs.make_pack(pack_id=waiting.pk) is None, "somebody is at it"
        later = clock.now() + packs.STALE_AFTER + timedelta(minutes=1)
        assert packs.sweep_packs(now=later) == [waiting.pk]
        with clock.at(later):
            assert packs.make_pack(pack_id=waiting.pk).state == PackState.READY

    def test_its_manifest_stands_in_the_trail(self, campaign, auditor):
        pack = made(auditor, campaign)
        event = Event.objects.get(act="pack.made", subject_id=pack.pk)
        assert (event.data["manifest"], event.data["archive"]) == (pack.manifest_digest, pack.digest)

    def test_a_campaign_without_a_settled_population_has_none(self, reviewer, auditor):
        make.active_server(title="Unsettled")
        launched = make.template(reviewer)
        launched = reviews.launch_campaign(actor=make.acting(launched.owner), template=launched)
        with pytest.raises(Conflict):
            packs.pack_campaign(actor=make.acting(auditor), campaign=launched)


def django_commits():
    from django.test import TestCase

    return TestCase.captureOnCommitCallbacks(execute=True)
