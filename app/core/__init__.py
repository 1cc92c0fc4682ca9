"""What an interaction is: requests, steps, events, statuses and chains.

Pure: no I/O, no framework, no clock. Everything here speaks the steps schema
(2026-05-20) of the Interactions API; other dialects are views of it in `app.wire`.

    events --> Fold --> steps        the answer, folded from what was streamed
    steps --> unfold --> events      a stream, replayed from a stored answer
"""
