"""Small input that would become large, deep or slow: refused before anything costly is done with it.

Answers of other servers that unpack to gigabytes: tests/core/test_outbound.py.
Limits of requests: tests/core/test_limits.py.
"""

import gzip
import json
import tomllib
import zipfile
from io import BytesIO

import pytest
import yaml
from django.core.files.uploadedfile import SimpleUploadedFile

from registry.core.errors import Malformed
from registry.core.nesting import deepest
from registry.discovery.formats import read_document, read_rows
from registry.discovery.formats.bounds import Beyond
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


SERVER_YAML = "name: x\nabout: {title: X}\ntype: server\n"


@pytest.mark.parametrize("text", [ALIASES, f"servers:\n{ALIASES}", DEEP, HUGE, KEYS, "{" * 9_000, '{"a":' * 30_000])
def test_documents(text):
    with pytest.raises(Malformed):
        read_document(text)


# What a parser needs a time for that grows faster than the text, and the limit that the refusal names.
SLOW = {
    "a long key": ("a." * 40_000 + "b=1", "32 parts"),
    "of quoted parts": ('"a".' * 40_000 + "b=1", "32 parts"),
    "in single quotes, with spaces": ("'a' . " * 5_000 + "b = 1", "32 parts"),
    "in a header": ("[" + "a." * 4_000 + "b]\nx = 1", "32 parts"),
    "in a header of an array": ("x = 1\n[[" + "a." * 4_000 + "b]]", "32 parts"),
    "in an inline table": ("x = {" + "a." * 4_000 + "b = 1}", "32 parts"),
    "behind a string": ('x = "\\"#"\n' + "a." * 4_000 + "b = 1", "32 parts"),
    "behind a string of many lines": ("x = '''\n'\n'''\n" + "a." * 4_000 + "b = 1", "32 parts"),
    "inline tables in each other": ("x = " + "{a = " * 80 + "1" + "}" * 80, "0 levels"),
    "arrays in each other": ("x = " + "[" * 80 + "]" * 80, "0 levels"),
    "many headers": ("".join(f"[a.b.c.d.e.f{n}]\nx = 1\n" for n in range(20_000)), "256 KB"),
    "many keys": ("a = 1\n" * 60_000, "KB"),
    "flow sequences in each other": (f"{SERVER_YAML}k: " + "[" * 20_000, "0 levels"),
    "flow mappings in each other": (f"{SERVER_YAML}k: " + "{a: " * 10_000, "0 levels"),
    "sequences in each other": (f"{SERVER_YAML}k:\n" + "- " * 20_000 + "x", "0 levels"),
    "a large server.yaml": (SERVER_YAML + "k:\n" + "- a: b\n" * 20_000, "64 KB"),
    "many entries": ("[" + "[]," * 20_000 + "[]]", "20000 entries"),
    "many texts of server.yaml": (json.dumps([{"server_yaml": SERVER_YAML + "#" * 60_000}] * 20), "1 MB"),
    "many values": (json.dumps({"mcpServers": {"a": {"command": "npx", "args": ["x"] * 50_000}}}), "50000 values"),
    "many secrets": (
        json.dumps({"mcpServers": {"a": {"command": "x", "env": {f"TOKEN_{n}": f"k3Yx9{n}" for n in range(1_001)}}}}),
        "1000 secrets",
    ),
}


@pytest.mark.parametrize(("text", "limit"), SLOW.values(), ids=SLOW)
def test_slow_documents_are_refused_by_a_limit_that_is_named(text, limit, monkeypatch):
    read = []
    module, name = (yaml, "load") if text.startswith(SERVER_YAML) else (tomllib, "loads")
    monkeypatch.setattr(module, name, lambda *_args, **_options: read.append(name))
    with pytest.raises(Beyond) as refused:
        read_document(text)
    assert refused.value.status == 422 and limit in refused.value.message
    assert not read, "a parser was given the text"


def test_a_row_with_too_deep_a_server_yaml_is_refused_by_itself():
    rows = read_rows([{"server_yaml": f"{SERVER_YAML}k: " + "[" * 100}, {"server_yaml": SERVER_YAML}])
    assert "60 levels" in str(rows[0].read.fields) and "60 levels" not in str(vars(rows[1].read))


@pytest.mark.parametrize("number", ["0x" + "f" * 20_000, "1" + ":1" * 10_000], ids=["hexadecimal", "sexagesimal"])
def test_numbers_that_cannot_be_written(number):
    with pytest.raises(Malformed):
        read_document(f"{SERVER_YAML}k: {number}")


def test_limits_leave_what_people_write():
    key, dots = ".".join(f"part{n}" for n in range(20)), "x." * 100
    (row,) = read_document(
        f'# {dots}\n[mcp_servers.one]\ncommand = "npx"\nargs = ["{dots}", """{dots}"""]\nenv = {{{key} = 1}}\n'
    )
    assert row.read.entry == "one"
    nested = "k:\n" + "".join(f"{'  ' * n}k:\n" for n in range(1, 30))
    (row,) = read_document(f'{SERVER_YAML}a: "{dots}"\n{nested}')
    assert "KB" not in str(vars(row.read)) and "deep" not in str(vars(row.read))


def test_sightings_over_rest_name_the_field_and_the_limit(api):
    body = {"client": "codex", "place": "p", "configuration": "a." * 40_000 + "b=1"}
    answer = api(make.person()).post("/api/v1/sightings", body, format="json")
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "/configuration" and "32 parts" in error["detail"]


def test_the_depth_of_a_body_is_told_from_its_text():
    assert deepest(b'{"a": [1, {"b": "]]]\\"[[["}]}') == 3
    assert deepest(b"[],[],{}") == 1 and deepest(b"") == 0 and deepest(b']]"[[[[') == 0


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
