"""SCIM 2.0 (RFC 7643, RFC 7644): how a company's directory tells who works here, and who no longer does.

resources: what a user and a group look like on the wire; what the service says about itself
rows: between these and the rows of `accounts`
filters: a filter as SQL
views: the endpoints below /scim/v2/
"""
