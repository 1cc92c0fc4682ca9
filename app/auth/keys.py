"""Keys of projects: `igw_`, 36 random characters, and 6 that check them.

The checksum lets a mistyped or foreign key be refused without asking the database; the digest,
HMAC-SHA-256 with a pepper, is all that is ever stored.
"""

import hmac
import re
import secrets
import string
import zlib

_ALPHABET = string.ascii_letters + string.digits
_PREFIX = "igw_"
_RANDOM = 36
_CHECK = 6
_SHAPE = re.compile(rf"{_PREFIX}[A-Za-z0-9]{{{_RANDOM + _CHECK}}}")
_SHOWN = len(_PREFIX) + 6


def new_key() -> str:
    """A fresh key: 214 random bits."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return f"{_PREFIX}{body}{_checksum(body)}"


def is_key(value: str) -> bool:
    """Whether this has a key's shape and its checksum fits."""
    if not _SHAPE.fullmatch(value):
        return False
    body, check = value[len(_PREFIX) : -_CHECK], value[-_CHECK:]
    return hmac.compare_digest(_checksum(body), check)


def shown(key: str) -> str:
    """The part of a key that may be shown, to tell keys apart."""
    return key[:_SHOWN]


def digest(pepper: bytes, key: str) -> bytes:
    """What is stored instead of the key: 32 bytes."""
    # Not hmac.digest: it lets go of the interpreter, and other threads make it wait to have it back.
    return hmac.new(pepper, key.encode(), "sha256").digest()


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECK):
        number, digit = divmod(number, len(_ALPHABET))
        digits += _ALPHABET[digit]
    return digits
