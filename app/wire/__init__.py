"""The wire: JSON to the core's nouns and back. Pydantic lives here and nowhere deeper.

dialect   the dialects, and which of them a client speaks
body      bytes -> JSON, strictly and not too deep
create    JSON -> core Request
input     every form of `input` -> steps
steps     core <-> JSON and SSE in the steps schema (2026-05-20)
outputs   the same in the schema before it, as a view of the steps schema

resources    the rest of the API: the allow-list of what is passed on, and whose it is
references   what a request's body names that may belong to a project
answers      what an upstream's answers say of what belongs to projects; lists of it
parameters   queries of what is passed on
"""
