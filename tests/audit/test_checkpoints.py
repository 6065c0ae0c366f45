"""Signing, telling others, proving over REST, and what `doctor` says when something is missing."""

import io
import threading
from base64 import b64encode
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from registry.audit import notes, tasks
from registry.audit.merkle import extends, includes, leaf_hash
from registry.audit.models import Anchor, Batch, Checkpoint, Event, LogKey, Seal, Verification
from registry.audit.queries import public_keys, trouble, verify_log
from registry.audit.services import rotate_key, seal_events, sign_checkpoint, tell_anchors
from registry.audit.signing import NoSigningKey
from registry.audit.verifier import read_checkpoints
from registry.core import clock, health
from registry.core.actors import Actor
from registry.core.canonical import canonical_json
from registry.core.errors import NotAllowed
from tests.audit.test_chain import tamper, write
from tests.factories import acting, outsider, person

pytestmark = pytest.mark.django_db


def pem():
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture(autouse=True)
def key(settings, tmp_path):
    settings.AUDIT_SIGNING_KEY_FILE = str(tmp_path / "key.pem")
    settings.AUDIT_ORIGIN = "steward.example.org/audit"


@pytest.fixture
def log(key):
    """Seven entries in two batches, signed after each."""
    write(4)
    seal_events()
    sign_checkpoint()  # the key that it introduces is the fifth event
    write(2)
    seal_events()
    return sign_checkpoint()


class TestSigning:
    def test_says_what_the_log_was_and_verifies(self, log):
        note = notes.Note.parse(log.note)
        said = notes.Checkpoint.parse(note.text)
        assert (said.origin, said.tree_size, said.root.hex()) == ("steward.example.org/audit", 7, log.root_hash)
        (key,) = public_keys()
        assert note.is_signed_by(key)
        assert log.note.splitlines()[4].startswith("\u2014") is False and log.note.count("\u2014 ") == 1

    def test_the_same_state_is_signed_once(self, log):
        assert sign_checkpoint() == log and Checkpoint.objects.count() == 2

    def test_an_empty_log_has_nothing_to_sign(self):
        assert sign_checkpoint() is None and not LogKey.objects.exists()

    def test_production_without_a_key_signs_nothing_and_says_so(self, settings, client):
        settings.AUDIT_SIGNING_KEY_FILE = ""
        write()
        seal_events()
        with pytest.raises(NoSigningKey, match="AUDIT_SIGNING_KEY_FILE"):
            sign_checkpoint()
        tasks.sign()
        assert not Checkpoint.objects.exists()
        assert "AUDIT_SIGNING_KEY_FILE" in trouble()
        assert client.get("/readyz").json()["audit_log"] == "see manage.py doctor"
        assert "audit_log" not in client.get("/healthz").json()

    @pytest.mark.parametrize("text", ["nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
    def test_what_is_no_key_is_refused(self, settings, text):
        settings.AUDIT_SIGNING_KEY = text
        with pytest.raises(NoSigningKey, match="Ed25519"):
            sign_checkpoint()

    def test_a_key_file_of_production_is_not_made_by_us(self, settings):
        settings.EMBEDDED = False
        with pytest.raises(NoSigningKey, match="cannot be read"):
            sign_checkpoint()

    def test_a_key_from_the_environment_is_taken_up_and_the_old_one_never_again(self, log, settings):
        first, settings.AUDIT_SIGNING_KEY = settings.AUDIT_SIGNING_KEY, pem()
        signed = sign_checkpoint()
        assert signed.tree_size == 7 and signed.key_id != log.key_id
        assert Event.objects.filter(act="audit.key_replaced").exists()
        settings.AUDIT_SIGNING_KEY = first
        with pytest.raises(NoSigningKey, match="was replaced"):
            sign_checkpoint()
        assert verify_log().verified

    def test_the_name_of_the_log_stays(self, log, settings):
        settings.AUDIT_ORIGIN = "elsewhere.example.org"
        write()
        seal_events()
        assert sign_checkpoint().note.startswith("steward.example.org/audit\n")
        assert LogKey.objects.count() == 1

    def test_who_may_replace_the_key(self, log):
        with pytest.raises(NotAllowed):
            rotate_key(actor=acting(person("security")))
        rotate_key(actor=acting(person("administrator")))
        newer, older = public_keys()
        assert older.valid_until == newer.valid_from and newer.valid_until is None
        assert verify_log().verified

    def test_a_forged_checkpoint_in_the_database_is_named(self, log):
        text = notes.Note.parse(log.note).text
        stranger = notes.sign(text, "steward.example.org/audit", Ed25519PrivateKey.generate())
        raw = bytes.fromhex(log.key_id) + bytes(64)
        damaged = f"{text}\n\u2014 steward.example.org/audit {b64encode(raw).decode()}\n"
        for forged, said in (
            (stranger, "no key of this log"),
            (damaged, "was not signed by the key"),
            ("x", "damaged"),
        ):
            tamper(("UPDATE audit_checkpoint SET note = %s WHERE id = %s", forged, log.pk))
            assert said in verify_log().fault


class TestAnchors:
    def test_a_file_gets_every_checkpoint_in_order_and_verifies_the_log(self, log, settings, tmp_path):
        settings.AUDIT_ANCHOR_FILE = str(tmp_path / "anchors" / "audit.txt")
        assert (tell_anchors(), tell_anchors()) == (2, 0)
        write()
        tasks.seal()
        tasks.sign()
        told = read_checkpoints((tmp_path / "anchors" / "audit.txt").read_text(), public_keys())
        assert [each.tree_size for each in told] == [4, 7, 8]
        assert Anchor.objects.get().succeeded_at is not None and verify_log().verified
        tamper(
            ("DELETE FROM audit_checkpoint",),
            ("DELETE FROM audit_anchor",),
            ("DELETE FROM audit_batch WHERE number = 3",),
            ("DELETE FROM audit_seal WHERE batch_id = 3",),
        )
        assert "covers 8 entries, the log ends at position 7" in verify_log().fault

    def test_a_file_that_cannot_be_written_is_tried_again_later(self, log, settings, tmp_path):
        (tmp_path / "file").touch()
        settings.AUDIT_ANCHOR_FILE = str(tmp_path / "file" / "anchors.txt")
        assert tell_anchors() == 0
        anchor = Anchor.objects.get()
        assert anchor.failures == 1 and anchor.error and anchor.next_at > clock.now()
        assert "anchor (file) is not told" in trouble()
        settings.AUDIT_ANCHOR_FILE = str(tmp_path / "anchors.txt")
        assert tell_anchors() == 0, "not before its time"
        with clock.at(clock.now() + timedelta(hours=2)):
            assert tell_anchors() == 2
        assert trouble() == ""

    def test_a_webhook_is_told_and_told_again_after_it_failed(self, log, settings):
        heard, answers = [], [500, 204, 204]

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self):
                heard.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.send_response(answers.pop(0))
                self.end_headers()

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Hook)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            settings.AUDIT_ANCHOR_URL = f"http://127.0.0.1:{server.server_port}/checkpoints"
            assert tell_anchors() == 0 and "refus" not in Anchor.objects.get().error
            settings.OUTBOUND_ALLOW = ["127.0.0.1"]
            with clock.at(clock.now() + timedelta(hours=2)):
                assert tell_anchors() == 0 and "answered 500" in Anchor.objects.get().error
            with clock.at(clock.now() + timedelta(hours=4)):
                assert tell_anchors() == 2
        finally:
            server.shutdown()
            server.server_close()
        assert heard[0] == heard[1] and heard[2] == log.note
        assert Anchor.objects.get().told_note == log.note


class TestApi:
    def test_an_event_is_proved_to_be_in_the_signed_log(self, log, api):
        event = Event.objects.get(seal__position=3)
        proof = api(person("auditor")).get(f"/api/v1/audit/events/{event.pk}/proof").json()
        leaf = leaf_hash(canonical_json(proof["content"]))
        said = notes.Checkpoint.parse(notes.Note.parse(proof["checkpoint"]).text)
        assert leaf.hex() == proof["leaf_hash"] and proof["content"]["id"] == str(event.pk)
        path = [bytes.fromhex(each) for each in proof["hashes"]]
        assert includes(said.root, said.tree_size, leaf, proof["leaf_index"], path)

    def test_an_event_without_a_seal_says_when(self, log, api):
        (event,) = write()
        answer = api(person("auditor")).get(f"/api/v1/audit/events/{event.pk}/proof")
        assert answer.status_code == 409 and "not sealed yet" in answer.json()["detail"]

    def test_somebody_elses_event_is_not_proved_to_a_member(self, log, api):
        event = Event.objects.get(seal__position=3)
        assert api(person()).get(f"/api/v1/audit/events/{event.pk}/proof").status_code == 404

    def test_the_log_only_grew(self, log, api):
        client = api(person())
        listed = client.get("/api/v1/audit/checkpoints").json()["results"]
        assert [each["tree_size"] for each in listed] == [7, 4]
        proof = client.get("/api/v1/audit/consistency?first=4&second=7").json()
        assert (proof["first_root_hash"], proof["root_hash"]) == (listed[1]["root_hash"], listed[0]["root_hash"])
        roots = [bytes.fromhex(proof[name]) for name in ("first_root_hash", "root_hash")]
        assert extends(4, roots[0], 7, roots[1], [bytes.fromhex(each) for each in proof["hashes"]])
        assert client.get("/api/v1/audit/consistency?first=4").json() == proof
        assert client.get(f"/api/v1/audit/checkpoints/{listed[0]['id']}").json() == listed[0]

    def test_signed_states_come_in_order_of_signing_page_by_page(self, log, api):
        tamper(("UPDATE audit_checkpoint SET id = 'ffffffff-ffff-7fff-bfff-ffffffffffff' WHERE number = 1",))
        client = api(person())
        page = client.get("/api/v1/audit/checkpoints?limit=1").json()
        assert [each["tree_size"] for each in page["results"]] == [7]
        assert [each["tree_size"] for each in client.get(page["next"]).json()["results"]] == [4]
        forged = b64encode(b"p=x").decode()
        assert client.get(f"/api/v1/audit/checkpoints?cursor={forged}").status_code == 400

    @pytest.mark.parametrize("query", ["", "first=x", "first=-1", "first=8", "first=5&second=4", "first=1&second=99",
                                       "first=1&third=2", "first=" + "9" * 400])  # fmt: skip
    def test_impossible_sizes_are_refused(self, log, api, query):
        assert api(person()).get(f"/api/v1/audit/consistency?{query}").status_code == 422

    def test_who_may_ask(self, log, api):
        for path in ("checkpoints", "keys", "consistency?first=1"):
            assert api().get(f"/api/v1/audit/{path}").status_code == 401
            assert api(person(), "catalog:read").get(f"/api/v1/audit/{path}").status_code == 403
            assert api(person(), "audit:read").get(f"/api/v1/audit/{path}").status_code == 200


class TestPages:
    def test_the_page_shows_who_vouches_for_the_log(self, log, web, settings, tmp_path):
        settings.AUDIT_ANCHOR_FILE = str(tmp_path / "anchors.txt")
        tell_anchors()
        text = web(person("auditor")).get("/audit/chain").content.decode()
        assert log.key_id in text and log.root_hash[:16] in text and "last told" in text
        assert "registry.audit.verifier" in text

    def test_verifying_is_remembered(self, log, web):
        client = web(person("auditor", name="Ada Auditor"))
        client.post("/audit/chain")
        found = Verification.objects.get()
        assert (found.tree_size, found.fault) == (7, "") and found.by.startswith("Ada Auditor")
        tasks.verify()
        assert Verification.objects.first().by == "nightly verification"

    def test_a_fault_is_remembered_and_is_trouble(self, log, web):
        tamper(("UPDATE audit_event SET act = 'x' WHERE id = %s", Seal.objects.get(position=2).event_id))
        tasks.verify()
        assert "at position 2 was changed" in trouble()
        assert "at position 2 was changed" in web(person("auditor")).get("/audit/chain").content.decode()

    def test_downloads(self, log, web):
        from registry.audit.verifier import verify_file

        client = web(person("auditor"))
        assert client.get("/audit/checkpoint.txt").content.decode() == log.note
        keys = notes.read_keys(client.get("/audit/keys.txt").content.decode())
        whole = b"".join(client.get("/audit/log.jsonl").streaming_content)
        assert verify_file(io.BytesIO(whole), keys=keys).fully_vouched
        assert Event.objects.filter(act="audit.exported", subject_label="audit log").count() == 1
        day = f"{clock.today():%Y-%m-%d}"
        period = b"".join(client.get(f"/audit/log.jsonl?since={day}&until={day}").streaming_content)
        assert verify_file(io.BytesIO(period), keys=keys).fully_vouched
        assert client.get("/audit/log.jsonl?since=yesterday").status_code == 422
        assert client.get("/audit/log.jsonl?since=2090-01-01").status_code == 409

    def test_the_whole_log_is_for_those_who_oversee(self, log, web):
        assert web(person("reviewer")).get("/audit/log.jsonl").status_code == 403
        assert web(outsider()).get("/audit/keys.txt").status_code == 403

    def test_before_anything_is_signed_the_page_says_so(self, web):
        assert "Nothing signed yet" in web(person("auditor")).get("/audit/chain").content.decode()
        assert web(person("auditor")).get("/audit/checkpoint.txt").status_code == 404


def test_events_that_wait_for_long_are_trouble(log):
    with clock.at(clock.now() - timedelta(minutes=20)):
        write()
    assert "waited" in trouble()
    seal_events()
    assert trouble() == ""


def test_doctor_asks_for_the_log(log, capsys):
    assert "audit log" in health.questions()
    assert health.questions()["audit log"]() == ""


def test_a_batch_can_be_of_any_size(log):
    write(300)
    while seal_events(limit=77):
        pass
    assert Batch.objects.count() == 6 and verify_log().tree_size == 307


def test_actors_of_the_system_have_names(log):
    assert Event.objects.get(act="audit.key_introduced").actor_label == Actor.system("audit log").label
