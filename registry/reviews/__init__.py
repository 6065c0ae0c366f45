"""Recertification. Where to find what:

states: what may follow what, as tables
facts: what is material about a subject and what surrounds it, in SQL: read it, freeze it, hash it
drift: frozen facts against present ones, compared in the database
comparison: what differs between two states of the evidence in words, and three of them side by side
services.watch: items and certificates whose facts moved
outcome: what several answers come to, pure (docs/outcomes.md is printed from it)
seats: who was asked about an item in each stage, and what their answers come to
absence: who is away on a day, and who stands in
services.moves: row locks and state moves that every act stands on
services.campaigns: the life of a campaign once it runs, to its acceptance
services.stages: how its items follow into the next stage
services.items: in whose hands an item is; hand over, step back, escalate, assign
services.unfinished: what a reviewer typed and has not saved
services.sign_off: the signature, and what follows from the answers
services.delegations: out of office
services.intake: the review of one registration
queries: how far a campaign is, who has not answered, what lies still
reports: the report of a campaign, its rows as files, how reviewers decide
template_form: the guided form of a template, and a scope in words
services.templates: what a template may say
views.campaigns, views.campaign_acts: the list, the page of one, and what is done with it
executors: who carries a remediation out; a later room registers its channel here
services.remediation: from a decision to the cut, the channel's errand, report, retry; suspend and resume
services.verification: was it seen to be gone, and did it come back
services.challenges, services.exceptions: objections before the cut, and access that may stay for a time
services.follow_up: every timer of remediations, as one sweep
services.notices: who is told what of a remediation
services.certificates: issue, end, carry over
gateway: is this one certified now, and if not, why
views.remediations, views.certificates: what was taken away, exceptions, certificates
queue: a reviewer's items in reading order, as a window of a list of any length
desk: a reviewer's inbox, and what surrounds one item: past, consequences, who could not be asked
waiting: what waits for a person besides items: second looks, exceptions, items in nobody's hands, acceptances
presentation: how an item reads: sentence, signals, picture, places that other rooms fill (`panels`)
views.workbench, views.queue: inbox, queue, item, decision
cadence: days, deadlines, ladders and their rungs; pure
silence: who has not answered, how far the ladder has come with them, how much it may do by itself
simulation: what the ladder would do by a day, without a write
services.ladder: climb: escalate, plan, carry out, circuit breaker
services.actions: what people decide about automatic actions: release, decline, restore
services.reminders: who is reminded of what, and of runs that did not start
services.openings: whoever has to decide hears that it waits, when a campaign, a stage or a single review begins
services.letters: the outbox every mail goes through
services.triggers, services.micro: what calls for a review now, and the campaign it becomes
services.occasions: somebody left, a tier rose
services.interim: who runs the campaigns and templates of an owner who left
services.leavers: what a leaver was asked to review goes to others; letters about succession and what will rest
packs, services.packs: the audit pack of a campaign or a period; pack_verifier verifies one without this registry
views.packs: the list of packs, and one of them
views.ladder: automatic actions, simulation, triggers
"""
