"""Trust queries over many relationships, against plain SQL for the same edges."""

from bench.measure import fresh_database, parse, report, timed, timed_sql


def main(argv: list[str]) -> None:
    options = parse("relationships", argv, servers=2_000, agents=2_000, grants=20_000)
    with fresh_database():
        from bench.population import many_relationships, many_servers, reader

        servers = many_servers(options.servers)
        agent, system, server = many_relationships(servers, agents=options.agents, grants=options.grants)
        client = reader()
        floor = timed_sql(
            "SELECT DISTINCT c.system_id FROM trust_grant g JOIN trust_connection c ON c.server_id = g.server_id "
            "WHERE g.agent_id = %s AND g.status = 'active' AND c.status = 'active'",
            [agent.pk],
        )
        rows = []
        for what, url in {
            "relationships_page": "/api/v1/trust/relationships?status=active&limit=50",
            "reach_of_agent": f"/api/v1/trust/reach?agent={agent.pk}",
            "access_to_system": f"/api/v1/trust/access?system={system.pk}",
            "blast_radius": f"/api/v1/trust/blast-radius?server={server.pk}",
        }.items():
            answer = client.get(url)
            assert answer.status_code == 200, (url, answer.content[:500])
            measured = timed(lambda url=url: client.get(url))
            rows.append({"bench": "relationships", "what": what, "bytes": len(answer.content), **measured})
        rows.append({"bench": "relationships", "what": "sql_floor_reach", **floor})
        for row in rows:
            row["grants"] = options.grants
    report(rows, write=not options.no_report)
