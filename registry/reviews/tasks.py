"""Background work of reviews. Timers are rows; these only look at them."""

from uuid import UUID

import structlog
from celery import shared_task

from registry.core import clock
from registry.reviews import services
from registry.reviews.services import interim, leavers, packs
from registry.reviews.services.generation import fail_generation

log = structlog.get_logger(__name__)


@shared_task(ignore_result=True)
def generate_items(*, campaign_id: str) -> None:
    """Work a launch through. Safe to run twice, or again after it was killed."""
    try:
        services.generate_items(campaign_id=UUID(campaign_id))
    except Exception as error:
        log.exception("generation_failed", campaign_id=campaign_id)
        fail_generation(campaign_id=UUID(campaign_id), reason=f"{type(error).__name__}: the launch could not go on.")
        raise


@shared_task(ignore_result=True)
def resume_generation() -> None:
    services.resume_generation(now=clock.now())


@shared_task(ignore_result=True)
def open_stage(*, campaign_id: str) -> None:
    """Let a campaign's items follow it into its next stage. Safe to run twice, or again after it was killed."""
    services.open_stage(campaign_id=UUID(campaign_id))


@shared_task(ignore_result=True)
def sweep_campaigns() -> None:
    """Campaigns that wait for nothing any more, and stages whose worker died."""
    services.settle_campaigns()
    services.resume_stages(now=clock.now())


@shared_task(ignore_result=True)
def start_delegations() -> None:
    services.start_delegations(today=clock.today())


@shared_task(ignore_result=True)
def open_intake(*, server_id: str) -> None:
    services.open_intake(server_id=UUID(server_id))


@shared_task(ignore_result=True)
def sweep_intakes() -> None:
    services.sweep_intakes()


@shared_task(ignore_result=True)
def recheck(*, kind: str, subject_id: str) -> None:
    services.recheck(kind=kind, id=UUID(subject_id))
    services.look_again(kind=kind, id=UUID(subject_id))


@shared_task(ignore_result=True)
def sweep_facts() -> None:
    """Items and certificates against the present facts, for events that got lost, and for time."""
    services.sweep_items()
    services.end_stale_certificates()


@shared_task(ignore_result=True)
def sweep_touched_facts() -> None:
    """Items and certificates that rest on what moved lately, for events that got lost."""
    services.sweep_touched()


@shared_task(ignore_result=True)
def admit_those_asked() -> None:
    """Reviewers of what became confidential; by the clock too, for events that got lost."""
    services.admit_those_asked()


@shared_task(ignore_result=True)
def launch_due_campaigns() -> None:
    """A run that was missed is told of before it is made up for."""
    services.tell_missed_runs(today=clock.today())
    services.launch_due_campaigns(today=clock.today())


@shared_task(ignore_result=True)
def climb_ladders() -> None:
    """Tell people first: whoever hears of a rung only with the next one could not have answered."""
    services.send_reminders(now=clock.now())
    services.sweep_ladders(now=clock.now())
    services.send_reminders(now=clock.now())


@shared_task(ignore_result=True)
def carry_out_actions(*, campaign_id: str) -> None:
    services.carry_out_actions(campaign_id=UUID(campaign_id), now=clock.now())


@shared_task(ignore_result=True)
def tell_reviewers() -> None:
    services.tell_reviewers()


@shared_task(ignore_result=True)
def send_letters() -> None:
    services.send_letters(now=clock.now())


@shared_task(ignore_result=True)
def gather_triggers() -> None:
    """One change may call for the review of more than one campaign takes."""
    while services.gather_triggers(now=clock.now()) is not None:
        pass


@shared_task(ignore_result=True)
def notice_departures(*, user_id: str) -> None:
    services.notice_departures(user_id=UUID(user_id))


@shared_task(ignore_result=True)
def replace_leaver(*, user_id: str) -> None:
    """Somebody left: who runs their campaigns hears first where their reviews find nobody else."""
    interim.name_interim_owners(user_id=UUID(user_id))
    leavers.replace_leavers(user_id=UUID(user_id))
    leavers.end_delegations_of_leavers(user_id=UUID(user_id))
    leavers.release_stand_ins(user_id=UUID(user_id))
    leavers.announce_rest(now=clock.now())


@shared_task(ignore_result=True)
def sweep_leavers() -> None:
    interim.name_interim_owners()
    leavers.replace_leavers()
    leavers.end_delegations_of_leavers()
    leavers.release_stand_ins()
    leavers.announce_rest(now=clock.now())


@shared_task(ignore_result=True)
def ask_successor(*, former_owner_id: str, successor_id: str) -> None:
    leavers.ask_successor(former_owner_id=UUID(former_owner_id), successor_id=UUID(successor_id))


@shared_task(ignore_result=True)
def notice_tier(*, server_id: str, before: str) -> None:
    services.notice_tier(server_id=UUID(server_id), before=before)


@shared_task(ignore_result=True)
def sweep_occasions() -> None:
    """What calls for a review, for events that got lost."""
    services.notice_departures()
    services.sweep_tiers()
    services.tell_of_drifts(now=clock.now())


@shared_task(ignore_result=True)
def tell_of_drift(*, drift_id: str) -> None:
    services.tell_of_drift(drift_id=UUID(drift_id))


@shared_task(ignore_result=True)
def tell_owner(*, item_id: str) -> None:
    services.tell_owner(item_id=UUID(item_id))


@shared_task(ignore_result=True)
def carry_out(*, remediation_id: str) -> None:
    services.carry_out(remediation_id=UUID(remediation_id))


@shared_task(ignore_result=True)
def make_pack(*, pack_id: str) -> None:
    packs.make_pack(pack_id=UUID(pack_id))


@shared_task(ignore_result=True)
def sweep_packs() -> None:
    """Expired files, and packs whose message or worker was lost."""
    for pack_id in packs.sweep_packs(now=clock.now()):
        make_pack.delay(pack_id=str(pack_id))


@shared_task(ignore_result=True)
def follow_up_remediations() -> None:
    services.follow_up(now=clock.now())
    services.tell_of_cuts(now=clock.now())


BEAT = {
    "sweep-audit-packs": {"task": sweep_packs.name, "schedule": 300.0},
    "follow-up-remediations": {"task": follow_up_remediations.name, "schedule": 30.0},
    "resume-interrupted-launches": {"task": resume_generation.name, "schedule": 15.0},
    "sweep-campaigns": {"task": sweep_campaigns.name, "schedule": 30.0},
    "start-delegations": {"task": start_delegations.name, "schedule": 900.0},
    "sweep-intakes": {"task": sweep_intakes.name, "schedule": 60.0},
    "sweep-reviewed-facts": {"task": sweep_facts.name, "schedule": 300.0},
    "admit-those-asked": {"task": admit_those_asked.name, "schedule": 300.0},
    "sweep-touched-facts": {"task": sweep_touched_facts.name, "schedule": 30.0},
    "launch-due-campaigns": {"task": launch_due_campaigns.name, "schedule": 600.0},
    "climb-ladders": {"task": climb_ladders.name, "schedule": 300.0},
    "tell-reviewers": {"task": tell_reviewers.name, "schedule": 60.0},
    "send-letters": {"task": send_letters.name, "schedule": 60.0},
    "gather-triggers": {"task": gather_triggers.name, "schedule": 30.0},
    "sweep-leavers": {"task": sweep_leavers.name, "schedule": 60.0},
    "sweep-occasions-for-reviews": {"task": sweep_occasions.name, "schedule": 600.0},
}
