"""Line ends in names reach no header: not of an answer, not of a mail."""

import pytest
from django.core import mail
from django.urls import reverse

from registry.core.logs import without_query
from tests import factories as make

pytestmark = pytest.mark.django_db
SPLIT = 'Q3\r\nSet-Cookie: sessionid=evil\r\nX-Evil: 1\r\n\r\n<script>"; filename="evil.exe'


def test_names_in_file_names(web):
    """A campaign whose name holds line ends, quotes and a file name of its own."""
    reviewer = make.person("reviewer")
    campaign = make.campaign(reviewer, name=SPLIT[:120])
    answer = web(make.person("campaign_manager", "administrator")).get(
        reverse("reviews:campaign_csv", args=[campaign.pk])
    )
    assert answer.status_code == 200
    assert "X-Evil" not in answer.headers and "sessionid" not in answer.cookies
    named = answer["Content-Disposition"]
    assert named.count('"') == 2 and not {"\r", "\n", ";exe"} & set(named) and "evil.exe" not in named


@pytest.mark.parametrize("header", ["HTTP_X_REQUEST_ID", "HTTP_IDEMPOTENCY_KEY", "HTTP_IF_NONE_MATCH", "HTTP_ORIGIN"])
def test_what_is_echoed_of_a_request(web, header):
    answer = web(make.person()).get("/servers/", **{header: "a\r\nX-Evil: 1"})
    assert answer.status_code < 500 and "X-Evil" not in answer.headers
    assert all("\r" not in value and "\n" not in value for value in answer.headers.values())


@pytest.mark.parametrize(
    "query", ["q=a%0d%0aX-Evil:%201", "older=%0d%0aX-Evil:1", "lifecycle=%0d%0aX-Evil:1", "next=%0d%0aX-Evil:1"]
)
@pytest.mark.parametrize("path", ["/servers/", "/sign-in", "/api/v1/servers", "/trust/", "/search/"])
def test_queries_in_links_and_redirects(web, path, query):
    for client in (web(), web(make.person())):
        answer = client.get(f"{path}?{query}")
        assert answer.status_code < 500 and "X-Evil" not in answer.headers


def test_subjects_of_mail_have_one_line():
    """Django refuses the rest, and a letter that cannot be made is no letter that was altered."""
    with pytest.raises(ValueError, match="newline"):
        mail.EmailMessage(subject=f"Review {SPLIT}", body="x", to=["a@example.test"]).message().as_string()


def test_a_log_line_holds_no_query():
    event = {"event": "request_started", "request": "GET /servers/?q=secret%0d%0afake"}
    assert without_query(None, "info", event)["request"] == "GET /servers/"
