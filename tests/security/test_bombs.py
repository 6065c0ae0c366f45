"""Small input that would become large, deep or slow: refused or read in no time.

Answers of other servers that unpack to gigabytes: tests/core/test_outbound.py.
Limits of requests: tests/core/test_limits.py.
"""

import gzip
import json
import time
import zipfile
from io import BytesIO

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from registry.core.errors import RegistryError
from registry.discovery.formats import read_document
from tests import factories as make

pytestmark = pytest.mark.django_db


def bomb() -> bytes:
    """Twenty megabytes of zeros in a file of some kilobytes."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("servers.json", b"0" * 20_000_000)
    return packed.getvalue()


ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)
DEEP = "[" * 50_000 + "]" * 50_000
HUGE = '{"servers": [{"name": "com.example/huge", "version": ' + "9" * 100_000 + "}]}"
KEYS = json.dumps({f"k{n}": n for n in range(50_000)})


@pytest.mark.parametrize("text", [ALIASES, f"servers:\n{ALIASES}", DEEP, HUGE, KEYS, "{" * 9_000, '{"a":' * 30_000])
def test_documents(text):
    before = time.process_time()
    try:
        read_document(text)
    except RegistryError as error:
        assert error.status < 500
    assert time.process_time() - before < 2


@pytest.mark.parametrize("content", [bomb(), gzip.compress(b"0" * 20_000_000), b"\x00" * 10_000, b"\xff\xfe" * 500])
def test_uploads_are_never_unpacked(web, content):
    answer = web(make.person("administrator", "security")).post(
        "/imports/new/", {"files": SimpleUploadedFile("servers.json", content), "source": "file"}
    )
    assert answer.status_code in (302, 422) and len(content) < 100_000


@pytest.mark.parametrize(
    "body", [DEEP, HUGE, "1" * 100_000, "-" + "1" * 5_000, '{"name": 1e999999}', '{"name": NaN}', KEYS]
)
def test_bodies_over_rest(api, body):
    answer = api(make.person()).generic("POST", "/api/v1/servers", body, content_type="application/json")
    assert 400 <= answer.status_code < 500, answer.content[:200]


def test_a_compressed_body_is_not_unpacked(api):
    packed = gzip.compress(b'{"name": "' + b"a" * 5_000_000 + b'"}')
    answer = api(make.person()).generic(
        "POST", "/api/v1/servers", packed, content_type="application/json", HTTP_CONTENT_ENCODING="gzip"
    )
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("value", ["9" * 5_000, "1e400", "-1", "NaN", "99999999999999999999", "\x00", "٣"])
@pytest.mark.parametrize("query", ["limit={}", "tier={}", "created_after={}", "older={}"])
def test_numbers_in_queries(api, query, value):
    answer = api(make.person()).get(f"/api/v1/servers?{query.format(value)}")
    assert answer.status_code < 500
