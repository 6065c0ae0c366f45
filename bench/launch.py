"""Launching a campaign: its population and its items with frozen snapshots, against one bare INSERT … SELECT."""

import time

from bench.measure import fresh_database, parse, report


def main(argv: list[str]) -> None:
    options = parse("launch", argv, items=2_000)
    with fresh_database():
        from django.db import connection

        from bench.population import many_servers, reviewers
        from registry.core.actors import Actor
        from registry.reviews import services as reviews
        from registry.reviews.models import Item

        many_servers(options.items)
        manager, *_ = reviewers(20)
        actor = Actor.person(manager)
        template = reviews.create_template(actor=actor, name="Everything", kinds=["server"], cadence_days=365)
        started = time.perf_counter()
        campaign = reviews.launch_campaign(actor=actor, template=template)
        population = time.perf_counter() - started
        started = time.perf_counter()
        reviews.generate_items(campaign_id=campaign.pk)
        generation = time.perf_counter() - started
        assert Item.objects.filter(campaign=campaign).count() == options.items
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE bare (LIKE reviews_item INCLUDING INDEXES)")
            started = time.perf_counter()
            cursor.execute("INSERT INTO bare SELECT * FROM reviews_item")
            bare = time.perf_counter() - started
    report(
        [
            {
                "bench": "launch",
                "items": options.items,
                "population_s": round(population, 3),
                "generation_s": round(generation, 3),
                "bare_insert_select_s": round(bare, 3),
                "times_bare": round((population + generation) / bare, 1),
            }
        ],
        write=not options.no_report,
    )
