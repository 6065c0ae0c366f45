"""REST list of 50 servers among many, through the whole stack, against plain SQL for the same rows."""

from bench.measure import fresh_database, parse, report, timed, timed_sql

FLOOR = "SELECT * FROM catalog_server ORDER BY id DESC LIMIT 50"


def main(argv: list[str]) -> None:
    options = parse("list", argv, servers=10_000)
    with fresh_database():
        from bench.population import many_servers, reader

        many_servers(options.servers)
        client = reader()
        url = "/api/v1/servers?limit=50"
        answer = client.get(url)
        assert answer.status_code == 200, answer.content[:500]
        assert len(answer.json()["results"]) == 50
        after = answer.json()["next"]
        rows = [
            {"bench": "list", "what": "rest_first_page", **timed(lambda: client.get(url))},
            {"bench": "list", "what": "rest_next_page", **timed(lambda: client.get(after))},
            {"bench": "list", "what": "rest_search", **timed(lambda: client.get(f"{url}&q=server-00777"))},
            {
                "bench": "list",
                "what": "sql_floor",
                **timed_sql(FLOOR),
            },
        ]
        for row in rows:
            row["servers"] = options.servers
        rows[0]["bytes"] = len(answer.content)
        rows[0]["times_floor"] = round(rows[0]["p50_ms"] / rows[3]["p50_ms"], 1)
    report(rows, write=not options.no_report)
