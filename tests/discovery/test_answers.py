"""Whatever a server answers is classified; nothing it says makes a look fail on our side."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.core.outbound import Refused, check
from registry.discovery.definitions import Unusable, normalise
from registry.discovery.models import Snapshot
from registry.discovery.probing import probe
from tests.discovery.fake_servers import LEGACY, MODERN, PATH
from tests.listeners import Asked, Told, http

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
TOOL = st.fixed_dictionaries({"name": st.text(max_size=8) | JSON}, optional={"inputSchema": JSON, "annotations": JSON})


def said(**members: Any) -> st.SearchStrategy[Any]:
    """A result whose known members are right or anything at all, or that is anything itself."""
    return st.fixed_dictionaries({}, optional={name: right | JSON for name, right in members.items()}) | JSON


DISCOVER = said(
    supportedVersions=st.just([MODERN]), capabilities=st.just({"prompts": {}}), instructions=JSON, _meta=st.just([1])
)
INITIALIZE = said(protocolVersion=st.just(LEGACY), capabilities=JSON, serverInfo=JSON, instructions=JSON)
LISTED = said(tools=st.lists(TOOL, max_size=3), prompts=st.lists(TOOL, max_size=2), nextCursor=JSON)


class Fuzzed:
    """Answers what the example says; `modern` decides which of the two greetings it knows."""

    def __init__(self) -> None:
        self.example: tuple[bool, Any, Any, Any, str] = (True, {}, {}, {}, "")

    def __call__(self, asked: Asked) -> Told:
        modern, discover, initialize, listed, session = self.example
        if asked.method != "POST" or b'"id"' not in asked.body:
            return Told(202)
        answers = {"server/discover": discover if modern else None, "initialize": initialize}
        value = answers.get(asked.json["method"], listed)
        if asked.json["method"] == "server/discover" and not modern:
            return Told(400)
        headers = {"Mcp-Session-Id": session} if session else {}
        return Told(body=json.dumps({"jsonrpc": "2.0", "id": asked.json["id"], "result": value}).encode(),
                    headers={"Content-Type": "application/json", **headers})  # fmt: skip


@pytest.fixture(scope="module")
def fuzzed():
    server = Fuzzed()
    with http(server) as listener:
        yield server, listener.url(PATH)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(st.tuples(st.booleans(), DISCOVER, INITIALIZE, LISTED, st.sampled_from(["", "ok", "\u00fcber", "a b"])))
def test_every_shape_of_an_answer_is_classified(fuzzed, settings, example):
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8:*"]
    server, url = fuzzed
    server.example = example
    seen = probe(url)
    assert seen.outcome in Snapshot.Outcome.values
    if seen.listing is not None:
        with suppress(Unusable):
            normalise(seen.listing)


@pytest.mark.parametrize(
    "discover",
    [{"supportedVersions": [MODERN], "_meta": [1]}, {"supportedVersions": {}, "_meta": "x"}, [], 1, {"_meta": None}],
)
def test_metadata_of_another_shape_is_not_taken(fuzzed, settings, discover):
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8:*"]
    server, url = fuzzed
    server.example = (True, discover, {"protocolVersion": [LEGACY]}, {"tools": []}, "")
    assert probe(url).outcome in ("listed", "failed", "not_mcp")


@pytest.mark.parametrize(
    "url", ["https://①②⑦.⓪.⓪.①/", "https://１２７.0.0.1/", "https://xn--/", "https://a..b/", "https://\u00ad/"]
)
def test_an_address_no_client_could_send_is_refused_in_words(url):
    assert probe(url).outcome in ("refused", "unreachable")
    if "127" in url or "①" in url or "１" in url:
        with pytest.raises(Refused, match="four decimal numbers"):
            check(url)
