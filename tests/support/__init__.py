"""What tests stand on: real databases, real server processes, a scriptable upstream on a socket."""

PATIENCE = 60
"""Seconds for what takes a moment: the machine may be slow, and busy with other things."""
