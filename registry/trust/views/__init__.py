"""Pages of trust: `explore` asks the graph, `lists` and `acts` keep relationships, `panels` serve other rooms."""
