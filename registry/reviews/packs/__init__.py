"""The making of an audit pack.

archive: files streamed into a zip, each with its digest
contents: the rows of every file, from the database, in a fixed order
summary: what people read in it
figures: what is counted: tie-out, timeliness, quality, remediation
controls: which files show what of which control
"""
