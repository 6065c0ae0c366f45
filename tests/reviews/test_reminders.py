"""Reminder mails: when, to whom, how often, what arrives at a real SMTP server, and that a kill doubles nothing."""

import random
import socket
import time
from collections import Counter
from datetime import timedelta
from email import message_from_bytes
from email.policy import default

import pytest
from aiosmtpd.controller import Controller
from django.core import mail

from registry.audit.models import Event
from registry.catalog import services as catalog
from registry.core import clock
from registry.core.errors import Conflict, NotAllowed
from registry.core.inert import visible
from registry.reviews import queries, tasks
from registry.reviews import services as reviews
from registry.reviews.models import Campaign, LadderStep, Letter, Template, WorkItem
from tests import factories as make


def of_tier(server, tier):
    by = make.acting(make.person("security"))
    return catalog.override_tier(actor=by, server=server, tier=tier, reason="For the test.")


@pytest.fixture
def reviewed(db):
    """One reviewer, a server and a grant of tier high: reminders on days -7, -3 and -1."""
    reviewer = make.person("reviewer", name="Rita Reviewer")
    server = of_tier(make.active_server(), "high")
    make.grant(server=server)
    campaign = make.campaign(reviewer, kinds=["server", "grant"], instructions="Look at what writes first.")
    return campaign, reviewer


def remind(campaign: Campaign, days_left: float) -> int:
    """A run so many days before the deadline; how many letters it wrote."""
    at = campaign.due_at - timedelta(days=days_left) + timedelta(minutes=1)
    with clock.at(at):
        return reviews.send_reminders(now=at)


class TestWhen:
    def test_once_per_rung_and_not_before_the_first(self, reviewed):
        campaign, _ = reviewed
        written = [remind(campaign, days) for days in (10, 7, 7, 5, 3, 3, 1, 0.5)]
        assert written == [0, 1, 0, 0, 1, 0, 1, 0]
        assert LadderStep.objects.filter(act="remind").count() == 6

    def test_rungs_the_worker_slept_through_are_one_letter(self, reviewed):
        campaign, _ = reviewed
        assert remind(campaign, 0.5) == 1
        assert LadderStep.objects.count() == 6, "all three are made up for"
        assert remind(campaign, 0.4) == 0

    def test_names_that_hide_are_spelled_out(self, reviewed):
        campaign, _ = reviewed
        Campaign.objects.filter(pk=campaign.pk).update(name="Q3\u202eweiver\u200b\ufe0f")
        assert remind(Campaign.objects.get(pk=campaign.pk), 0.5) == 1
        letter = Letter.objects.latest("pk")
        assert "Q3[U+202E]weiver[U+200B][U+FE0F]" in letter.subject
        for text in (letter.subject, letter.text, letter.html):
            assert visible(text) == text

    def test_not_after_the_deadline(self, reviewed):
        campaign, _ = reviewed
        assert remind(campaign, -0.1) == 0

    def test_each_tier_by_its_own_ladder(self, db):
        reviewer = make.person("reviewer")
        for tier in ("critical", "low"):
            of_tier(make.active_server(), tier)
        campaign = make.campaign(reviewer, kinds=["server"])
        assert remind(campaign, 7) == 1
        assert "2 items" in Letter.objects.get().text
        assert remind(campaign, 3) == 1
        assert "1 item of" in Letter.objects.latest("written_at").text

    def test_who_got_it_late_did_not_miss_earlier_rungs(self, reviewed):
        campaign, _ = reviewed
        at = campaign.due_at - timedelta(days=2)
        WorkItem.objects.update(created_at=at)
        assert remind(campaign, 1.9) == 0
        assert remind(campaign, 1) == 1

    def test_an_extension_starts_the_reminders_anew(self, reviewed):
        campaign, _ = reviewed
        assert remind(campaign, 7) == 1
        until = (campaign.due_at + timedelta(days=10)).date()
        reviews.extend_campaign(actor=make.acting(campaign.owner), campaign=campaign, until=until, reason="Holidays")
        campaign.refresh_from_db()
        assert remind(campaign, 7) == 1


class TestWhom:
    def test_only_whoever_has_not_signed(self, reviewed):
        campaign, reviewer = reviewed
        server, grant = campaign.items.order_by("-kind")
        make.decide(server)
        make.sign(campaign, reviewer)
        assert remind(campaign, 3) == 1
        assert "1 item of" in Letter.objects.get().text
        make.decide(grant)
        make.sign(campaign, reviewer)
        assert remind(campaign, 1) == 0

    def test_a_draft_is_reminded_of_its_signature(self, reviewed):
        campaign, _ = reviewed
        for item in campaign.items.all():
            make.decide(item)
        assert remind(campaign, 3) == 1
        assert "sign what you decided" in Letter.objects.get().text

    def test_nobody_who_left(self, reviewed):
        campaign, reviewer = reviewed
        reviewer.is_active = False
        reviewer.save()
        assert remind(campaign, 3) == 0

    def test_the_deputy_hears_of_it_too(self, db):
        reviewer, lead = make.person("reviewer", name="Rita Reviewer"), make.person(name="Lena Lead")
        make.team(reviewer, lead=lead)
        of_tier(make.active_server(), "critical")
        campaign = make.campaign(reviewer, kinds=["server"])
        assert remind(campaign, 3) == 2
        letter = Letter.objects.get(to=lead)
        assert "Rita Reviewer has not answered 1 item" in letter.text
        assert f"/reviews/{campaign.pk}/" in letter.text

    def test_whoever_an_item_was_passed_on_to_hears_at_once(self, db):
        first, second = make.person("reviewer"), make.person("reviewer")
        of_tier(make.active_server(), "high")
        campaign = make.campaign(first, second, kinds=["server"])
        at = campaign.due_at + timedelta(minutes=5)
        with clock.at(at):
            reviews.sweep_ladders(now=at)
            assert [reviews.send_reminders(now=at) for _ in range(2)] == [1, 0]
        letter = Letter.objects.get()
        assert letter.to == make.work_of(campaign.items.get()).reviewer
        assert "passed on to you" in letter.text
        assert "in 7 days" in letter.text

    def test_a_registration_nobody_looks_at(self, db):
        reviewer = make.person("reviewer")
        item = make.intake(make.submitted_server())
        assert remind(item.campaign, 3) == 1
        assert Letter.objects.get().to == make.work_of(item).reviewer
        assert reviewer.is_active

    def test_by_hand_once_a_day_by_whoever_manages_it(self, reviewed):
        campaign, reviewer = reviewed
        for person in (reviewer, make.person("reviewer")):
            with pytest.raises(NotAllowed):
                reviews.remind_reviewer(actor=make.acting(person), campaign=campaign, reviewer=reviewer)
        manager = make.acting(campaign.owner)
        assert reviews.remind_reviewer(actor=manager, campaign=campaign, reviewer=reviewer) == 2
        with pytest.raises(Conflict, match="reminded today already"):
            reviews.remind_reviewer(actor=manager, campaign=campaign, reviewer=reviewer)
        with pytest.raises(Conflict, match="nothing left"):
            reviews.remind_reviewer(actor=manager, campaign=campaign, reviewer=make.person("reviewer"))

    def test_the_number_of_queries_does_not_grow_with_the_items(self, reviewed, django_assert_max_num_queries):
        campaign, _ = reviewed
        at = campaign.due_at - timedelta(days=3) + timedelta(minutes=1)
        with clock.at(at), django_assert_max_num_queries(40):
            reviews.send_reminders(now=at)


class TestOutbox:
    def test_neither_rung_nor_letter_without_the_other(self, reviewed, monkeypatch):
        campaign, _ = reviewed
        with monkeypatch.context() as patched:
            patched.setattr("registry.reviews.services.reminders.record", lambda **_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                remind(campaign, 7)
        assert not LadderStep.objects.exists()
        assert not Letter.objects.exists()
        assert remind(campaign, 7) == 1

    def test_a_letter_is_sent_once(self, reviewed):
        campaign, reviewer = reviewed
        remind(campaign, 7)
        assert [reviews.send_letters(now=campaign.due_at) for _ in range(2)] == [1, 0]
        (message,) = mail.outbox
        assert message.to == [reviewer.email]
        assert message.extra_headers["Message-ID"].startswith(f"<{Letter.objects.get().pk}@")

    def test_a_mail_server_that_is_down_is_asked_again_later(self, reviewed, monkeypatch):
        campaign, _ = reviewed
        remind(campaign, 7)
        now = campaign.due_at
        with monkeypatch.context() as patched:
            patched.setattr("django.core.mail.EmailMultiAlternatives.send", lambda self: 1 / 0)
            assert reviews.send_letters(now=now) == 0
        letter = Letter.objects.get()
        assert (letter.attempts, letter.sent_at) == (1, None)
        assert reviews.send_letters(now=now) == 0, "not at once"
        assert reviews.send_letters(now=now + timedelta(minutes=1)) == 1

    def test_one_bad_address_keeps_nobody_else_waiting(self, reviewed, monkeypatch):
        campaign, reviewer = reviewed
        remind(campaign, 7)
        other = make.person("reviewer")
        manager = make.acting(campaign.owner)
        item = campaign.items.first()
        reviews.reassign_work_item(actor=manager, work_item=make.work_of(item), to=other, note="Yours.")
        reviews.remind_reviewer(actor=manager, campaign=campaign, reviewer=other)
        send = mail.EmailMultiAlternatives.send

        def picky(self):
            if self.to == [reviewer.email]:
                raise ConnectionRefusedError
            return send(self)

        monkeypatch.setattr("django.core.mail.EmailMultiAlternatives.send", picky)
        assert reviews.send_letters(now=campaign.due_at) == 2, "that it is theirs now, and the reminder"
        assert [message.to for message in mail.outbox] == [[other.email]] * 2

    def test_given_up_in_the_end_and_said_so(self, reviewed, monkeypatch):
        campaign, _ = reviewed
        remind(campaign, 7)
        monkeypatch.setattr("django.core.mail.EmailMultiAlternatives.send", lambda self: 1 / 0)
        now = campaign.due_at
        for _ in range(20):
            now += timedelta(days=1)
            reviews.send_letters(now=now)
        letter = Letter.objects.get()
        assert letter.attempts == 12
        assert "12 times" in letter.dropped_because

    def test_not_to_somebody_who_left_meanwhile(self, reviewed):
        campaign, reviewer = reviewed
        remind(campaign, 7)
        reviewer.is_active = False
        reviewer.save()
        assert reviews.send_letters(now=campaign.due_at) == 0
        assert "no longer active" in Letter.objects.get().dropped_because


class TestMissedRuns:
    """Invariant 20."""

    @pytest.fixture
    def planned(self, db):
        make.active_server()
        template = make.template(make.person("reviewer"), name="Quarterly", kinds=["server"])
        Template.objects.filter(pk=template.pk).update(next_run_on=clock.today())
        template.refresh_from_db()
        return template

    def test_its_owner_and_the_managers_hear_it_once(self, planned):
        other = make.person("campaign_manager")
        today = clock.today()
        told = [reviews.tell_missed_runs(today=today + timedelta(days=days)) for days in (0, 1, 1, 2)]
        assert told == [0, 1, 0, 0]
        assert {letter.to for letter in Letter.objects.all()} == {planned.owner, other}
        assert f"Quarterly did not start on {today}" in Letter.objects.first().subject
        assert Event.objects.filter(act="template.run_missed").count() == 1

    def test_a_run_made_up_for_late_was_told_of(self, planned):
        with clock.at(clock.now() + timedelta(days=3)):
            tasks.launch_due_campaigns()
        assert Letter.objects.filter(key__startswith="missed").exists()
        assert Campaign.objects.get(template=planned).period == planned.next_run_on.isoformat()
        assert queries.missed_runs(clock.today() + timedelta(days=3)) == []

    def test_a_run_that_is_refused_stays_due_and_says_why(self, planned, monkeypatch):
        from registry.core.errors import Invalid

        def refuse(**_):
            raise Invalid("The team in its scope is gone.")

        with monkeypatch.context() as patched:
            patched.setattr("registry.reviews.services.launch.launch_campaign", refuse)
            for _ in range(3):
                assert reviews.launch_due_campaigns(today=clock.today()) == []
        planned.refresh_from_db()
        assert planned.next_run_on == clock.today()
        assert planned.run_failed_because == "The team in its scope is gone."
        reviews.tell_missed_runs(today=clock.today() + timedelta(days=1))
        assert "The team in its scope is gone." in Letter.objects.first().text
        assert len(reviews.launch_due_campaigns(today=clock.today())) == 1
        planned.refresh_from_db()
        assert planned.run_failed_because == ""

    def test_a_banner_until_it_is_launched_or_planned_anew(self, planned, web):
        manager = web(planned.owner)
        Template.objects.filter(pk=planned.pk).update(next_run_on=clock.today() - timedelta(days=2))
        assert "Quarterly was not launched" in manager.get("/reviews/").content.decode()
        reviews.launch_due_campaigns(today=clock.today())
        assert "was not launched" not in manager.get("/reviews/").content.decode()

    def test_not_for_a_template_that_is_switched_off(self, planned):
        Template.objects.filter(pk=planned.pk).update(enabled=False)
        assert reviews.tell_missed_runs(today=clock.today() + timedelta(days=9)) == 0

    def test_only_the_system_does_this(self, planned):
        with pytest.raises(NotAllowed):
            reviews.tell_missed_runs(today=clock.today(), actor=make.acting(make.person("reviewer")))


# --- What really arrives ---------------------------------------------------------------------------------


class Sink:
    """An SMTP server that keeps what it gets; `slow` makes it take its time, so that a kill falls into a delivery."""

    def __init__(self):
        self.messages = []
        self.slow = 0.0

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd names it
        import asyncio

        self.messages.append(message_from_bytes(envelope.content, policy=default))
        await asyncio.sleep(self.slow)
        return "250 OK"


@pytest.fixture
def sink():
    made = Sink()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(made, hostname="127.0.0.1", port=port)
    controller.start()
    made.port = port
    yield made
    controller.stop()


@pytest.fixture
def smtp(sink, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = "127.0.0.1"
    settings.EMAIL_PORT = sink.port
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    return sink


def test_what_arrives(reviewed, smtp, settings):
    campaign, reviewer = reviewed
    remind(campaign, 3)
    assert reviews.send_letters(now=campaign.due_at) == 1
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


@pytest.mark.worker
@pytest.mark.django_db(transaction=True)
def test_killed_at_random_points_nobody_hears_twice(idle_worker, sink):
    """A real worker that writes and sends, killed again and again: every rung once, every letter written once, and a
    copy only where the kill fell between the mail server's answer and our note of it."""
    reviewers = [make.person("reviewer") for _ in range(6)]
    soon = clock.now() + timedelta(days=2)
    for reviewer in reviewers:
        server = of_tier(make.active_server(), "high")
        make.campaign(reviewer, kinds=["server"], scope={"q": server.name}).items.update(due_at=soon)
    WorkItem.objects.update(created_at=clock.now() - timedelta(days=20))
    sink.slow = 0.05
    idle_worker.environment["EMAIL_URL"] = f"smtp://127.0.0.1:{sink.port}"
    chance, kills = random.Random(7), 0  # noqa: S311
    for _ in range(4):
        idle_worker.start()
        tasks.climb_ladders.delay()
        tasks.send_letters.delay()
        time.sleep(chance.uniform(0.1, 0.9))
        idle_worker.kill()
        kills += 1
    idle_worker.start()
    tasks.climb_ladders.delay()

    def settled():
        climbed = LadderStep.objects.count() >= 2 * WorkItem.objects.filter(state="open").count()
        if climbed and not Letter.objects.filter(sent_at=None).exists():
            return True
        tasks.send_letters.delay()
        time.sleep(0.3)  # the worker shall send, not only read that it should
        return False

    idle_worker.wait_for(settled, "all letters", within=120)
    written = Letter.objects.exclude(key__startswith="opened ").values_list("to__email", flat=True)
    active = {work.reviewer.email for work in WorkItem.objects.filter(state="open").select_related("reviewer")}
    assert Counter(written) == Counter(dict.fromkeys(active, 1))
    steps = list(LadderStep.objects.values_list("work_item", "rung"))
    assert len(steps) == len(set(steps)) == 2 * WorkItem.objects.filter(state="open").count()
    arrived = Counter(message["Message-ID"] for message in sink.messages)
    assert len(arrived) == Letter.objects.count() == 2 * len(written), "nobody was forgotten, nor that it began"
    assert sum(arrived.values()) - len(arrived) <= kills, "more copies than kills"
