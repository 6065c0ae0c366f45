"""Readers of published server descriptions: server.json of three generations, and Docker's MCP catalogue.

Pure functions: text in, `Entry` or `Refusal` out. Nothing is stored, nothing is fetched.
"""

from registry.discovery.formats.documents import MAX_BYTES, Row, read_document, read_rows

__all__ = ["MAX_BYTES", "Row", "read_document", "read_rows"]
