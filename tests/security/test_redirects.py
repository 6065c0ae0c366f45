"""No address of ours leads to a host of somebody else."""

from urllib.parse import quote, urljoin, urlsplit

import pytest

from tests import factories as make

pytestmark = pytest.mark.django_db
ELSEWHERE = (
    "https://evil.example/", "//evil.example", "///evil.example", "////evil.example/x", "/\\evil.example",
    "\\\\evil.example", "\\/evil.example", "/\t/evil.example", "\t//evil.example", " //evil.example",
    "http:evil.example",
    "http:///evil.example", "https:/evil.example", "javascript:alert(1)", "data:text/html,x", "/%0d%0aX-Evil:1",
    "//evil.example@testserver", "https://testserver@evil.example/", "https://testserver.evil.example/",
    "https://evil.example\\@testserver/", "//evil%E3%80%82example", "\x00//evil.example", "/\r\nX-Evil: 1",
)  # fmt: skip


def stays(answer) -> bool:
    """Where a browser would go from here; it reads backslashes as slashes and drops tabs and line ends."""
    assert "X-Evil" not in answer.headers
    location = answer.headers.get("Location", "/")
    read = "".join(c for c in location.strip() if c not in "\t\r\n").replace("\\", "/")
    went = urlsplit(urljoin("http://testserver/here", read))
    return went.scheme in ("http", "https") and went.netloc == "testserver"


@pytest.mark.parametrize("wanted", ELSEWHERE)
def test_next_in_every_spelling(web, wanted):
    user = make.person()
    signed_in, anonymous = web(user), web()
    query = f"next={quote(wanted)}"
    assert stays(signed_in.get(f"/sign-in?{query}"))
    assert stays(anonymous.post("/sign-in", {"email": user.email, "password": make.PASSWORD, "next": wanted}))
    assert stays(signed_in.post("/theme", {"theme": "dark", "next": wanted}))
    assert stays(signed_in.get(f"/account/confirm?{query}"))
    answer = signed_in.post("/account/confirm", {"password": make.PASSWORD, "next": wanted})
    assert stays(answer) and (answer.status_code == 302 or "evil.example" not in answer.content.decode())
    assert stays(anonymous.get(f"/oidc/nobody/begin?{query}"))


@pytest.mark.parametrize("path", ["//evil.example/", "//evil.example/x/", "///evil.example", "/\\evil.example/"])
@pytest.mark.parametrize("query", ["", "?unsent=1", "?unsent=1&next=//evil.example"])
def test_paths_that_look_like_hosts(web, path, query):
    """`//evil.example/?unsent=1` sent whoever was signed in to evil.example."""
    for client in (web(make.person()), web()):
        answer = client.generic("GET", "/", PATH_INFO=path, QUERY_STRING=query.lstrip("?"))
        assert stays(answer), answer.headers.get("Location")
