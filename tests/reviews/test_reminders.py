"""Reminder mails: when, to whom, how often, and what arrives at a real SMTP server."""

import socket
from datetime import date, timedelta
from email import message_from_bytes
from email.policy import default

import pytest
from aiosmtpd.controller import Controller
from django.core import mail

from registry.core import clock
from registry.core.errors import Conflict, NotAllowed
from registry.reviews import services as reviews
from registry.reviews.models import WorkItem
from registry.reviews.services.reminders import rung_on
from tests import factories as make

DUE = date(2026, 12, 18)


@pytest.mark.parametrize(
    ("days_left", "rung"), [(8, None), (7, 7), (6, 7), (4, 7), (3, 3), (2, 3), (1, 1), (0, 0), (-1, None)]
)
def test_rungs(days_left, rung):
    expected = DUE - timedelta(days=rung) if rung is not None else None
    assert rung_on(DUE, DUE - timedelta(days=days_left)) == expected


@pytest.fixture
def reviewed(db):
    reviewer = make.person("reviewer", name="Rita Reviewer")
    server = make.active_server()
    make.grant(server=server)
    campaign = make.campaign(reviewer, instructions="Look at what writes first.")
    return campaign, reviewer


@pytest.fixture
def at(monkeypatch):
    """Travel to so many days before the campaign's deadline."""

    def travel(campaign, days):
        moment = campaign.due_at - timedelta(days=days, hours=3)
        monkeypatch.setattr(clock, "now", lambda: moment)
        return moment.date()

    return travel


class TestWhen:
    def test_once_per_rung_and_not_before_the_first(self, reviewed, at):
        campaign, _ = reviewed
        sent = [reviews.send_reminders(today=at(campaign, days)) for days in (10, 7, 7, 5, 3, 3, 1, 0, 0)]
        assert sent == [0, 1, 0, 0, 1, 0, 1, 1, 0]

    def test_a_rung_the_worker_slept_through_is_made_up_for(self, reviewed, at):
        campaign, _ = reviewed
        assert reviews.send_reminders(today=at(campaign, 2)) == 1

    def test_only_whoever_still_has_something_to_decide(self, reviewed, at):
        campaign, reviewer = reviewed
        for item in campaign.items.all():
            make.decide(item)
        assert reviews.send_reminders(today=at(campaign, 3)) == 0
        reviews.undo_decision(actor=make.acting(reviewer), work_item=make.work_of(campaign.items.first()))
        assert reviews.send_reminders(today=at(campaign, 3)) == 1
        assert mail.outbox[-1].subject.startswith("1 review waits for you")

    def test_a_failing_mail_server_is_tried_again(self, reviewed, at, monkeypatch):
        campaign, _ = reviewed
        with monkeypatch.context() as patched:
            patched.setattr("django.core.mail.EmailMultiAlternatives.send", lambda self: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                reviews.send_reminders(today=at(campaign, 7))
        assert set(WorkItem.objects.values_list("reminded_on", flat=True)) == {None}
        assert reviews.send_reminders(today=at(campaign, 7)) == 1

    def test_by_hand_once_a_day_by_whoever_manages_it(self, reviewed):
        campaign, reviewer = reviewed
        for person in (reviewer, make.person("reviewer")):
            with pytest.raises(NotAllowed):
                reviews.remind_reviewer(actor=make.acting(person), campaign=campaign, reviewer=reviewer)
        manager = make.acting(campaign.owner)
        assert reviews.remind_reviewer(actor=manager, campaign=campaign, reviewer=reviewer) == 2
        with pytest.raises(Conflict):
            reviews.remind_reviewer(actor=manager, campaign=campaign, reviewer=reviewer)
        with pytest.raises(Conflict):
            reviews.remind_reviewer(actor=manager, campaign=campaign, reviewer=make.person("reviewer"))


class Sink:
    def __init__(self):
        self.messages = []

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd names it
        self.messages.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"


@pytest.fixture
def smtp(settings):
    sink = Sink()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(sink, hostname="127.0.0.1", port=port)
    controller.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = "127.0.0.1"
    settings.EMAIL_PORT = port
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    yield sink
    controller.stop()


def test_what_arrives(reviewed, smtp, at, settings):
    campaign, reviewer = reviewed
    assert reviews.send_reminders(today=at(campaign, 3)) == 1
    (message,) = smtp.messages
    assert message["To"] == reviewer.email
    assert message["Subject"] == f"2 reviews wait for you in {campaign.name}"
    assert message["Auto-Submitted"] == "auto-generated"
    plain = message.get_body(("plain",)).get_content()
    html = message.get_body(("html",)).get_content()
    link = f"{settings.BASE_URL}/reviews/{campaign.pk}/workbench/"
    for body in (plain, html):
        assert link in body
        assert "2 items" in body
        assert "in 3 days" in body
        assert "because you are an assigned reviewer" in body
        assert "Look at what writes first." in body
    assert html.count("<a ") == 1
    assert "style=" not in html
