"""Signatures: each thought of the simulator is signed over every step before it."""

import base64
import hashlib

from app.core.model import Json
from app.errors import InvalidRequest
from app.upstream.simulator.nesting import dump

_MARK = b"simulator"  # nine bytes: twelve base64 characters that no digest runs into
_MARK_TEXT = base64.b64encode(_MARK).decode()
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


class Transcript:
    """The digest of a conversation, step by step.

    Steps with the same JSON value are the same: the order of keys does not count, nor does the
    empty `signature` that streamed calls carry and unary ones do not.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._count = 0

    def add(self, step: Json) -> None:
        """Take the next step in. Raises InvalidRequest when it is nested too deeply."""
        if step.get("signature") == "":
            step = {name: value for name, value in step.items() if name != "signature"}
        self._digest.update(dump(step, f"input[{self._count}]"))
        self._count += 1

    def signature(self) -> str:
        """What a thought that comes next is signed with."""
        return base64.b64encode(_MARK + self._digest.digest()).decode()

    def call_id(self, kind: str, number: int) -> str:
        """The id of a call that comes next: eight lower-case letters and digits."""
        said = self._digest.copy()
        said.update(f"{kind} {number}".encode())
        value = int.from_bytes(said.digest()[:8], "big")
        return "".join(_ALPHABET[value // 36**place % 36] for place in range(8))


def verified(steps: list[Json]) -> Transcript:
    """The transcript of these steps.

    Raises InvalidRequest when a thought has a signature that the simulator made, but not for what
    comes before it here. Whatever does not carry its mark (another model's) is not judged.
    """
    transcript = Transcript()
    for step in steps:
        signature = step.get("signature") if step["type"] == "thought" else None
        own = isinstance(signature, str) and signature.startswith(_MARK_TEXT)
        if own and signature != transcript.signature():
            raise InvalidRequest("Thought signature is not valid.")
        transcript.add(step)
    return transcript
