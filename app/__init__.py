"""The Interactions Gateway: your own Gemini Interactions API.

One flow: limits -> auth -> wire (JSON to core) -> store (the chain) -> runs (the engine)
-> upstream (an adapter's events) -> fold, store, follow -> wire (core to JSON).
"""
