"""Pictures and sounds: the smallest valid files that can stand for a generated one."""

import base64
import hashlib
import math
import struct
import zlib

from app.core.model import Json

_SIDE = 8
_RATE = 8_000
_SAMPLES = 400


def image(prompt: str) -> Json:
    """An image content: a PNG of eight by eight pixels, in a colour of the prompt's own."""
    row = b"\0" + hashlib.sha256(prompt.encode()).digest()[:3] * _SIDE
    png = (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0))
        + _chunk(b"IDAT", zlib.compress(row * _SIDE))
        + _chunk(b"IEND", b"")
    )
    return {"mime_type": "image/png", "data": base64.b64encode(png).decode(), "type": "image"}


def audio(prompt: str) -> Json:
    """An audio content: a WAV of a twentieth of a second, at a pitch of the prompt's own."""
    pitch = 220 + hashlib.sha256(prompt.encode()).digest()[0] * 2
    waves = (math.sin(2 * math.pi * pitch * sample / _RATE) for sample in range(_SAMPLES))
    sound = struct.pack(f"<{_SAMPLES}h", *(round(8_000 * wave) for wave in waves))
    form = struct.pack("<HHIIHH", 1, 1, _RATE, 2 * _RATE, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(sound)) + sound
    wav = b"RIFF" + struct.pack("<I", len(body)) + body
    return {"mime_type": "audio/wav", "data": base64.b64encode(wav).decode(), "type": "audio"}


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
