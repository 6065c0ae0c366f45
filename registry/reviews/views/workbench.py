"""The reviewer's desk: inbox, workbench, decisions. Works with plain forms; scripts add keys."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db.models import Prefetch, prefetch_related_objects
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views import View
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from registry.core import clock
from registry.core.errors import Changed, NotFound, NotSignedIn, RegistryError, StepUpRequired
from registry.core.forms import answer, apply_error, run, status_of
from registry.core.http import Request
from registry.core.independence import bars, require_decider
from registry.core.permissions import allows, require
from registry.discovery.evidence import observed
from registry.reviews import desk, queries, services
from registry.reviews.cadence import REASON_REQUIRED
from registry.reviews.comparison import changes, three_way
from registry.reviews.facts import evidence_of
from registry.reviews.forms import DecisionForm, HandOverForm, IntakeForm, RecuseForm
from registry.reviews.models import Campaign, Decision, Item, TemplateStage, UnfinishedAnswer, WorkItem
from registry.reviews.models.decisions import answer_word
from registry.reviews.outcome import effective_strategy
from registry.reviews.presentation import KIND_ICONS, ItemView, present, slots
from registry.reviews.queue import lineup, waits_for
from registry.reviews.recommendation import beyond_purpose, may_show, recommend
from registry.reviews.services import bulk
from registry.reviews.services.decisions import EVIDENCE_REQUIRED, latest_day, opened_evidence
from registry.reviews.services.items import FactsChanged, candidates_for, missing_reviewers, review_version
from registry.reviews.states import OPEN_ITEM, CampaignState, ItemState, WorkItemState
from registry.reviews.views.campaigns import visible_campaign
from registry.reviews.views.queue import address_of, id_of, queue_of
from registry.reviews.waiting import waiting

KEYS = (
    ("c", gettext_lazy("Certify")),
    ("d", gettext_lazy("Reduce, then Tab and Space along the switches")),
    ("t", gettext_lazy("Certify for a time")),
    ("r", gettext_lazy("Revoke")),
    ("n", gettext_lazy("Not sure")),
    ("s", gettext_lazy("Step back: recuse yourself")),
    ("w", gettext_lazy("Write the reason; Esc leaves the field")),
    ("Ctrl Enter", gettext_lazy("Confirm and go to the next")),
    ("u", gettext_lazy("Undo")),
    ("j k", gettext_lazy("Next, previous item")),
    ("e", gettext_lazy("All evidence")),
    ("o", gettext_lazy("Open its page")),
    ("x", gettext_lazy("Select it")),
    ("g", gettext_lazy("Decide on the selected together")),
    ("/", gettext_lazy("Filter the queue")),
)
"""Keys of the workbench for the help dialog; each is named by the control it presses."""


@require_safe
def inbox(request: Request) -> HttpResponse:
    require(request.actor, "reviews.view")
    rows = desk.inbox(request.actor)
    undecided = [row for row in rows if not row.answered]
    context = {
        "nav": "work",
        "campaigns": [row for row in undecided if row.campaign.kind == Campaign.Kind.PERIODIC],
        "changes": [row for row in undecided if row.campaign.kind == Campaign.Kind.MICRO],
        "intakes": [row for row in undecided if row.campaign.kind == Campaign.Kind.INTAKE],
        "unsigned": [row for row in rows if row.answered],
        "to_close": desk.to_close(request.actor),
        "waiting": waiting(request.actor),
        "standing_in": desk.standing_in(request.actor),
    }
    return render(request, "reviews/inbox.html", context)


@require_safe
def workbench(request: Request, pk: UUID) -> HttpResponse:
    """To the first thing to do; a page of its own only when nothing is left."""
    campaign = visible_campaign(request, pk)
    queue = queue_of(request, campaign)
    first = next(iter(queue.drawn.lines), None)
    paged = "after" in request.GET or "until" in request.GET
    if first is not None and campaign.state == CampaignState.ACTIVE and not paged:
        return redirect(queue.address.item(first.id))
    context = {
        "nav": "reviews",
        "campaign": campaign,
        "queue": queue,
        "tab": queue.question.tab,
        "progress": queue.counts,
        "page_keys": KEYS,
    }
    return render(request, "reviews/workbench_done.html", context)


# --- One item --------------------------------------------------------------------------------------------


def _item(request: Request, campaign_id: UUID, pk: UUID) -> tuple[Campaign, Item]:
    """An item one may see, its campaign, its subject and whoever has it; else `NotFound`.

    Whoever sees an item sees its campaign (`Campaign.objects.visible_to`), so the item alone is asked for.
    """
    require(request.actor, "reviews.view")
    found: Item | None = (
        Item.objects.filter(campaign=campaign_id).select_related("campaign", "block").one_visible_to(request.actor, pk)
    )
    if found is None:
        raise NotFound
    prefetch_related_objects(
        [found],
        Prefetch(found.kind, desk.SUBJECTS[found.kind]),
        Prefetch("work_items", WorkItem.objects.select_related("reviewer", "unfinished").order_by("stage", "pk")),
    )
    return found.campaign, found


def _held(request: Request, item: Item) -> WorkItem | None:
    """The reader's own work item; nobody gets an item twice."""
    return next((row for row in item.work_items.all() if row.reviewer_id == request.actor.user_id), None)


def _mine(request: Request, item: Item) -> WorkItem:
    """As `_held`, for acts: whoever has no work item here is told so by the permission, not by an error."""
    held = _held(request, item)
    if held is None:
        held = next(reversed(item.work_items.all()), None)
        if held is None:
            raise NotFound
        require_decider(request.actor, "reviews.decide", held)
    return held


@require_safe
def item(request: Request, campaign: UUID, pk: UUID) -> HttpResponse:
    campaign_, thing = _item(request, campaign, pk)
    return _item_page(request, campaign_, thing)


@dataclass(frozen=True)
class Answer:
    """What the decision pane shows as chosen: what was just refused, else what is not saved yet, else the draft, else
    nothing. Without `kept` the switches say what the review says.
    """

    value: str = ""
    reason: str = ""
    until: str = ""
    kept: Sequence[str] | None = None


def _item_page(
    request: Request,
    campaign: Campaign,
    thing: Item,
    form: forms.Form | None = None,
    error: RegistryError | None = None,
) -> HttpResponse:
    actor = request.actor
    prefetch_related_objects([thing], "refreshes__block", "triggers", "work_items__decisions")
    held = _held(request, thing)
    unread = error is None and form is not None and "evidence_hash" in form.errors
    opens = request.GET.get("evidence") == "all" or unread
    if held is not None and held.state != WorkItemState.CLOSED and campaign.state == CampaignState.ACTIVE:
        held.item = thing
        if opens:
            services.note_opened(actor=actor, work_item=held)
        elif held.state == WorkItemState.OPEN:
            services.note_shown(actor=actor, work_item=held)
    draft = next((each for each in held.decisions.all() if each.signed_at is None), None) if held else None
    past, here = desk.past_decisions(thing), _decisions_here(thing)
    # What was certified was decided: without a past there is nothing to look for.
    seen, baseline = thing.seen, desk.last_certified(thing) if past else None
    evidence = seen.evidence
    under_review = thing.state in OPEN_ITEM
    now = evidence_of(thing.subject) if under_review else None
    later = now or thing.seen_later
    drifted = now is not None and (now.fingerprint != seen.fingerprint or thing.state == ItemState.INVALIDATED)
    since = changes(baseline[0], evidence) if baseline else []
    consequences = desk.consequences(actor, thing) if under_review else desk.Consequences()
    view = present(thing, evidence, since, draft, consequences)
    open_now = campaign.state == CampaignState.ACTIVE and under_review
    late = open_now and clock.now() > thing.due_at
    barred = bars(actor.user_id, thing) if held and held.state != WorkItemState.CLOSED else []
    queue = queue_of(request, campaign, thing) if held else None
    intake = campaign.kind == Campaign.Kind.INTAKE
    if form is None and intake and held:
        form = IntakeForm(request=request)
    # Another tab answered on the same evidence: both answers are shown, and saving again replaces knowingly.
    conflict = (
        isinstance(error, Changed)
        and draft is not None
        and form is not None
        and form.data.get("evidence_hash") == seen.evidence_hash
    )
    decides = bool(held and held.state != WorkItemState.CLOSED and open_now and not late and not barred and not drifted)
    bound = form is not None and form.is_bound
    unfinished = getattr(held, "unfinished", None) if decides and not bound else None
    given = _given(form, unfinished, draft, seen.evidence_hash)
    context = {
        "nav": "reviews",
        "campaign": campaign,
        "item": thing,
        "work_item": held,
        "icon_name": KIND_ICONS[thing.kind],
        "view": view,
        "slots": slots(thing),
        "seen": seen,
        "baseline": baseline,
        "changes": since,
        "comparison": three_way(baseline[0] if baseline else None, thing.evidence, later.evidence if later else None),
        "drifted": drifted,
        "drift": changes(evidence, now.evidence) if drifted and now else [],
        "now": now,
        "triggers": sorted(thing.triggers.all(), key=lambda trigger: trigger.created_at),
        "consequences": consequences,
        "under_review": under_review,
        "past": past,
        "exceptions": desk.past_exceptions(thing),
        "here": here,
        "holders": [w for w in thing.work_items.all() if w.state != WorkItemState.CLOSED],
        "barred_people": desk.could_not_be_asked(thing),
        "recommendation": recommend(thing, baseline, [each.decision for each in past])
        if held and decides and not intake and may_show(thing, held)
        else None,
        "observed": observed(thing.server_id) if thing.kind == "server" and thing.server_id else None,
        "approves": view.unapproved
        if thing.kind == "server" and allows(actor, "catalog.decide_intake", thing.subject)
        else [],
        "draft": draft,
        "answer": given,
        "kept": given.kept if given.kept is not None else _kept(thing, view, here),
        "first_decides": len(list(thing.work_items.all())) > 1 and _first_decides(campaign, thing),
        "unfinished": unfinished,
        "unfinished_stale": unfinished is not None and unfinished.evidence_hash != seen.evidence_hash,
        "today": clock.today(),
        "form": form,
        "error": None if conflict else error,
        "conflict": conflict,
        "first_wrong": _first_wrong(form),
        "decides": decides,
        "late": late,
        "barred": barred,
        "intake": intake,
        "beyond_purpose": beyond_purpose(seen.evidence["facts"], seen.evidence["context"]) if intake else [],
        "revoke_word": answer_word(thing.kind, Decision.Value.REVOKE) or _("Revoke"),
        "reason_required": thing.tier in REASON_REQUIRED,
        "latest": latest_day(thing),
        "earliest": clock.today() + timedelta(days=1),
        "version": review_version(held) if held else "",
        "shown": clock.now().isoformat(),
        "opens": opens,
        "evidence_required": EVIDENCE_REQUIRED,
        "opened": opened_evidence(held) if held is not None else None,
        "evidence_url": _evidence_url(request, campaign, thing),
        "queue": queue,
        # One item asks for all that is equal to it; where that is not allowed, or would end in nothing because what is
        # new or changed is looked at singly, the key and the link are not there.
        "alike": f"{reverse('reviews:bulk', args=[campaign.pk])}?item={thing.pk}"
        if decides and not draft and not intake and baseline and not since and thing.tier in bulk.TIERS
        else "",
        "last": _last_answer(campaign, thing, actor.user_id) if held and not draft and open_now else None,
        "progress": queue.counts if queue else queries.progress(campaign),
        "subject_url": _subject_url(thing),
        "page_keys": KEYS if queue else (),
    }
    status = error.status if error else (status_of(form) if form is not None else 200)
    template = "reviews/_all_evidence.html" if opens and request.headers.get("HX-Request") else "reviews/item.html"
    return render(request, template, context, status=status)


def _first_decides(campaign: Campaign, thing: Item) -> bool:
    """Whether the first who signs decides for everybody who was asked, also for the other side."""
    strategy = campaign.stages[thing.stage - 1]["strategy"]
    return effective_strategy(strategy, thing.tier) == TemplateStage.Strategy.FIRST_VALID_DECIDES


def _first_wrong(form: forms.Form | None) -> str:
    """Where to go on typing after a refusal: the first field with an error that one can type into, or the evidence."""
    errors = form.errors if form is not None and form.is_bound else {}
    return next((name for name in ("evidence_hash", "until", "reason") if name in errors), "")


def _evidence_url(request: Request, campaign: Campaign, thing: Item) -> str:
    """The page with all evidence opened: a request of its own, so that the server knows who opened it and when."""
    data = request.GET.copy()
    data["evidence"] = "all"
    return f"{reverse('reviews:item', args=[campaign.pk, thing.pk])}?{data.urlencode()}#all"


def _given(
    form: forms.Form | None, unfinished: UnfinishedAnswer | None, draft: Decision | None, evidence_hash: str
) -> Answer:
    if form is not None and form.is_bound:
        data: Any = form.data
        return Answer(data.get("value", ""), data.get("reason", ""), data.get("until", ""), _switched(data))
    if unfinished is not None and unfinished.evidence_hash != evidence_hash:
        # Words still help on facts that moved; what to do about them is chosen anew.
        return Answer(reason=unfinished.reason)
    said = unfinished or draft
    if said is None:
        return Answer()
    kept = said.kept if unfinished is not None else said.kept or None
    return Answer(said.value, said.reason, said.until.isoformat() if said.until else "", kept)


def _switched(data: Any) -> list[str] | None:
    """What the switches of a sent form keep. Where all are off a browser sends none of them, so the form says apart
    that it has some; None where it has not.
    """
    return data.getlist("kept") if "switches" in data or "kept" in data else None


@dataclass(frozen=True)
class LastAnswer:
    """What one answered a moment ago, so that `u` takes it back from wherever one is by now."""

    decision: Decision
    url: str
    version: str


def _last_answer(campaign: Campaign, here: Item, reviewer_id: UUID | None) -> LastAnswer | None:
    decision = desk.last_answer(campaign, reviewer_id)
    if decision is None or decision.work_item.item_id == here.pk:
        return None
    url = reverse("reviews:undo", args=[campaign.pk, decision.work_item.item_id])
    return LastAnswer(decision, url, review_version(decision.work_item))


def _decisions_here(thing: Item) -> list[Decision]:
    """Signed answers on this very item; drafts are their author's business."""
    signed = [each for row in thing.work_items.all() for each in row.decisions.all() if each.signed_at]
    return sorted(signed, key=lambda each: (each.signed_at, each.pk))


def _kept(thing: Item, view: ItemView, here: Sequence[Decision]) -> list[str]:
    """What the switches show as kept: what a review that is over left in place, else what the draft keeps, else all."""
    match thing.outcome:
        case Decision.Value.REVOKE:
            return []
        case Decision.Value.CERTIFY_REDUCED:
            reductions = [set(each.kept) for each in here if each.value == Decision.Value.CERTIFY_REDUCED]
            return sorted(set.intersection(*reductions)) if reductions else []
    return [row.atom for row in view.rows if row.kept]


def _subject_url(thing: Item) -> str:
    room = "catalog" if thing.kind in ("server", "agent") else "trust"
    return reverse(f"{room}:{thing.kind}", args=[thing.subject_pk])


# --- Acts on one item ------------------------------------------------------------------------------------


def _back(request: Request, campaign: Campaign, thing: Item) -> HttpResponse:
    return redirect(address_of(request, campaign).item(thing.pk))


@require_POST
def decide(request: Request, campaign: UUID, pk: UUID) -> HttpResponse:
    """Save the draft and go to the next undecided item (or stay, when asked to)."""
    campaign_, thing = _item(request, campaign, pk)
    form = DecisionForm(request.POST)

    def act(
        held: WorkItem, *, value: str, kept: list[str], version: str, shown: datetime | None, **facts: Any
    ) -> Decision:
        taken = int((clock.now() - shown).total_seconds() * 1000) if shown else 0
        return services.save_decision(
            actor=request.actor,
            work_item=held,
            value=value,
            kept=kept if value == Decision.Value.CERTIFY_REDUCED else (),
            decided_ms=max(taken, 0),
            expected_version=version or None,
            **{**facts, "until": facts["until"] if value == Decision.Value.CERTIFY_UNTIL else None},
        )

    if form.is_valid():
        try:
            held = _mine(request, thing)
            anchored = may_show(thing, held)
            decision = act(held, **form.cleaned_data)
        except (NotFound, NotSignedIn):
            raise
        except (Changed, FactsChanged) as error:
            return _item_page(request, *_item(request, campaign, pk), form, error)
        except RegistryError as error:
            apply_error(form, error)
        else:
            if request.POST.get("then") == "stay":
                return _back(request, campaign_, thing)
            if not anchored and decision.recommended not in ("", decision.value):
                # A first own answer on a high tier that the rules would not give: their reasons are worth a look.
                messages.info(request, _("Saved. The rules see it differently; read why, then go on."))
                return _back(request, campaign_, thing)
            return _go_on(request, campaign_, thing)
    # Refused is not lost either; what may not even be kept is said on the page already.
    with suppress(RegistryError):
        _keep(request, thing)
    return _item_page(request, *_item(request, campaign, pk), form)


def _go_on(request: Request, campaign: Campaign, thing: Item) -> HttpResponse:
    """To the next undecided item of the view, from the top again at the end.

    The page that was answered has named it. Only when that one no longer waits the whole queue is looked through again.
    """
    address = address_of(request, campaign)
    following = id_of(request.POST.get("following"))
    if following in (None, thing.pk) or not waits_for(request.actor, campaign, following):
        following = lineup(request.actor, campaign, address.question, current=thing.pk, window=0).next_open
    return redirect(address.item(following) if following else address.start)


@require_POST
@sensitive_post_parameters("password")
def decide_intake(request: Request, campaign: UUID, pk: UUID) -> HttpResponse:
    """Activate or return a registration: decided and signed at once."""
    _campaign, thing = _item(request, campaign, pk)
    form = IntakeForm(request.POST, request=request)
    if form.is_valid():
        facts = form.cleaned_data
        try:
            services.decide_intake(
                actor=request.actor,
                work_item=_mine(request, thing),
                value=facts["value"],
                reason=facts["reason"],
                evidence_hash=facts["evidence_hash"],
                auth_method=facts["password"],
                expected_version=facts["version"] or None,
            )
        except (NotFound, NotSignedIn, StepUpRequired):
            raise
        except (Changed, FactsChanged) as error:
            return _item_page(request, *_item(request, campaign, pk), form, error)
        except RegistryError as error:
            apply_error(form, error)
        else:
            done = (
                _("%(server)s is active.")
                if facts["value"] == Decision.Value.CERTIFY
                else _("%(server)s is returned to its people.")
            )
            messages.success(request, done % {"server": thing.label})
            return redirect("reviews:inbox")
    # Read again: it may have been decided in another tab, or withdrawn.
    return _item_page(request, *_item(request, campaign, pk), form)


@require_POST
def undo(request: Request, campaign: UUID, pk: UUID) -> HttpResponse:
    campaign_, thing = _item(request, campaign, pk)
    try:
        services.undo_decision(
            actor=request.actor,
            work_item=_mine(request, thing),
            expected_version=request.POST.get("version") or None,
        )
    except (NotFound, NotSignedIn):
        raise
    except RegistryError as error:
        return _item_page(request, *_item(request, campaign, pk), None, error)
    messages.success(request, _("Your answer is taken back."))
    return _back(request, campaign_, thing)


@require_POST
def unfinished(request: Request, campaign: UUID, pk: UUID) -> HttpResponse:
    """Keep the form as it is being filled in, for the script that sends it; `discard` is a button for people.

    Answers with what to say beside the form: `{"words": "Kept at 14:02, not saved yet"}`.
    """
    campaign_, thing = _item(request, campaign, pk)
    if "discard" in request.POST:
        services.discard_unfinished(actor=request.actor, work_item=_mine(request, thing))
        messages.success(request, _("Your unfinished answer is discarded."))
        return _back(request, campaign_, thing)
    try:
        row = _keep(request, thing)
    except (NotFound, NotSignedIn):
        raise
    except RegistryError as error:
        why = "; ".join(message for messages_ in error.fields.values() for message in messages_) or error.message
        return JsonResponse({"words": _("Not kept. %(why)s") % {"why": why}}, status=error.status)
    words = _("Kept at %(time)s, not saved yet.") % {"time": f"{localtime(row.at):%H:%M}"} if row else ""
    return JsonResponse({"words": words})


def _keep(request: Request, thing: Item) -> UnfinishedAnswer | None:
    data = request.POST
    try:
        until = date.fromisoformat(data.get("until", ""))
    except ValueError:
        until = None  # half typed
    return services.keep_unfinished(
        actor=request.actor,
        work_item=_mine(request, thing),
        value=data.get("value", ""),
        reason=data.get("reason", ""),
        kept=_switched(data),
        until=until,
        expected_version=data.get("version") or None,
    )


@require_POST
def confirm_facts(request: Request, campaign: UUID, pk: UUID) -> HttpResponse:
    """The reviewer has read what changed."""
    campaign_, thing = _item(request, campaign, pk)
    try:
        services.confirm_facts(
            actor=request.actor,
            work_item=_mine(request, thing),
            evidence_hash=request.POST.get("evidence_hash", ""),
        )
    except (NotFound, NotSignedIn):
        raise
    except RegistryError as error:
        return _item_page(request, *_item(request, campaign, pk), None, error)
    return _back(request, campaign_, thing)


class ItemAct(View, ABC):
    """A page with one form about the work item of an item."""

    request: Request

    title: Any = ""
    button: Any = ""
    icon = "check"

    @abstractmethod
    def form(self, data: Any = None, *, thing: Item, **kwargs: Any) -> forms.Form: ...

    @abstractmethod
    def act(self, work_item: WorkItem, version: str, **facts: Any) -> str: ...

    def work_item(self, thing: Item) -> WorkItem:
        return _mine(self.request, thing)

    def _page(self, campaign: Campaign, thing: Item, form: forms.Form) -> HttpResponse:
        # The page is nothing but its form: typing starts at once.
        next(iter(form.visible_fields())).field.widget.attrs["autofocus"] = True
        context = {"nav": "reviews", "campaign": campaign, "item": thing, "page_act": self}
        return answer(self.request, "reviews/item_act.html", form, context)

    def get(self, request: Request, campaign: UUID, pk: UUID) -> HttpResponse:
        campaign_, thing = _item(request, campaign, pk)
        return self._page(campaign_, thing, self.form(thing=thing, initial=self.initial(thing)))

    def initial(self, thing: Item) -> dict[str, Any]:
        return {"version": review_version(self.work_item(thing))}

    def post(self, request: Request, campaign: UUID, pk: UUID) -> HttpResponse:
        campaign_, thing = _item(request, campaign, pk)
        form = self.form(request.POST, thing=thing)

        def act(*, version: str = "", **facts: Any) -> str:
            return self.act(self.work_item(thing), version, **facts)

        told = run(form, act)
        if told is None:
            return self._page(campaign_, thing, form)
        messages.success(request, told)
        address = address_of(request, campaign_)
        mine = lineup(request.actor, campaign_, address.question, window=0).counts.total
        return redirect(address.start if mine else reverse("reviews:campaign", args=[campaign_.pk]))


class Recuse(ItemAct):
    title = gettext_lazy("Step back from this item")
    button = gettext_lazy("Step back")
    icon = "user-x"

    def form(self, data: Any = None, *, thing: Item, **kwargs: Any) -> forms.Form:
        return RecuseForm(data, **kwargs)

    def act(self, work_item: WorkItem, version: str, **facts: Any) -> str:
        left = services.recuse_work_item(
            actor=self.request.actor, work_item=work_item, expected_version=version or None, **facts
        )
        if left.state == WorkItemState.CLOSED:
            return _("You stepped back. Nobody independent is left in the pool; the campaign's owner is told.")
        return _("You stepped back; %(name)s decides.") % {"name": left.reviewer.name}


class HandOver(ItemAct):
    """Delegate one's own item, reassign anybody's as the campaign's manager, or name somebody for one that lacks a
    reviewer."""

    icon = "users"

    def form(self, data: Any = None, *, thing: Item, **kwargs: Any) -> forms.Form:
        if self._current(thing) is None:
            self.title, self.button, self.icon = _("Choose a reviewer"), _("Assign"), "user-plus"
        else:
            self.title, self.button = _("Hand this item to somebody else"), _("Hand over")
        return HandOverForm(data, candidates=candidates_for(thing), **kwargs)

    def _current(self, thing: Item) -> WorkItem | None:
        """One's own place, else the first that somebody has; None where somebody is to be named beside those."""
        if thing.state == ItemState.PENDING and allows(self.request.actor, "reviews.manage_campaign", thing.campaign):
            return None
        places = list(thing.work_items.exclude(state=WorkItemState.CLOSED).select_related("reviewer"))
        held = min(places, key=lambda each: each.reviewer_id != self.request.actor.user_id, default=None)
        if held is not None:
            held.item = thing
        return held

    def initial(self, thing: Item) -> dict[str, Any]:
        held = self._current(thing)
        if held is None:
            require(self.request.actor, "reviews.manage_campaign", thing.campaign)
            return {}
        require(self.request.actor, "reviews.reassign", held)
        return {"version": review_version(held)}

    def work_item(self, thing: Item) -> Any:
        return self._current(thing) or thing

    def act(self, work_item: WorkItem | Item, version: str, **facts: Any) -> str:
        actor = self.request.actor
        if isinstance(work_item, Item):
            asked = services.assign_reviewer(actor=actor, item=work_item, **facts)
            if missing := missing_reviewers(asked.item):
                words = ngettext(
                    "%(name)s has the item now. It still lacks %(n)d reviewer.",
                    "%(name)s has the item now. It still lacks %(n)d reviewers.",
                    missing,
                )
                return words % {"name": facts["to"].name, "n": missing}
        else:
            services.reassign_work_item(actor=actor, work_item=work_item, expected_version=version or None, **facts)
        return _("%(name)s has the item now.") % {"name": facts["to"].name}
