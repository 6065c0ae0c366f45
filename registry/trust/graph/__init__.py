"""Trust relationships as arrays in memory, exact to the last commit.

snapshot: the arrays of one state of the data, immutable
loading: rows of the database as arrays, in few statements
store: the state at present and at past instants, brought up to date by what changed
walk: chains, access, impact and paths over arrays; knows neither Django nor SQL
"""
