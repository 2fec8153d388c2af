"""Checks of an event: what a node would refuse is refused before it is sent."""

import json
import os
import re
import time
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Never

from .errors import PublishError

CHANNEL = re.compile(r"[A-Za-z0-9\-_.:@|/+=~%$!#&;]{1,255}")
SESSION = re.compile(r"([A-Za-z0-9\-_.:@|/+=~%$!#&;]{1,250}/)?[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
RESERVED = {
    *("connected", "disconnected", "shutdown", "superseded", "gap", "overloaded", "expired", "excepted"),
    *("end", "error", "open"),
}


@dataclass(frozen=True, slots=True)
class Publication:
    """A checked event, as a transport sends it."""

    channel: str
    type: str | None
    data: str
    key: str
    #: Unix milliseconds.
    until: int | None
    #: The session that does not get the event.
    except_: str | None = None

    @property
    def size(self) -> int:
        """What the event occupies in a buffer, in bytes."""
        return sum(len(text.encode()) for text in (self.channel, self.type or "", self.data, self.key))


def new_key() -> str:
    """Returns a new idempotency key: a UUID of version 7 (RFC 9562, section 5.7), which begins with the time."""
    bits = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10))
    bits = bits & ~(0xF << 76) | 0x7 << 76
    bits = bits & ~(0x3 << 62) | 0x2 << 62
    text = f"{bits:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def check(
    channel: str,
    data: Any,
    type: str | None,
    key: str | None,
    until: datetime | float | None,
    max_data_bytes: int,
    except_: str | None = None,
) -> Publication:
    """Checks an event as a node would.

    Raises:
        PublishError: The event is invalid. The code is the one that the node would answer with.
    """
    key = new_key() if key is None else key

    def refuse(code: str, message: str) -> Never:
        raise PublishError(code, message, channel=channel, key=key)

    if not (isinstance(channel, str) and CHANNEL.fullmatch(channel)):
        refuse("bad-channel", "the channel must have 1 to 255 ASCII letters, digits and -_.:@|/+=~%$!#&;")
    if type is not None and not (_is_text(type, 128) and not re.search(r"[\r\n\0]", type)):
        refuse("bad-event", "the type must have 1 to 128 bytes of one line, without NUL; omit it for a plain message")
    if type in RESERVED:
        refuse("bad-event", f'the type "{type}" is reserved')
    if not (_is_text(key, 128) and not any(unicodedata.category(character) == "Cc" for character in key)):
        refuse("bad-event", "the key must have 1 to 128 bytes without control characters")
    end = _milliseconds(until)
    if end is not None and end < 0:
        refuse("bad-event", "until must be a datetime with a time zone, or Unix seconds")
    if except_ is not None and not (isinstance(except_, str) and SESSION.fullmatch(except_)):
        refuse("bad-event", "except_ must be <user>/<session>, or <session> of a client without a user")
    text = _text(data)
    if text is None:
        refuse("bad-event", "the data must be a str, bytes of UTF-8, or a value that JSON has")
    size = len(text.encode())
    if size > max_data_bytes:
        refuse("too-large", f"the data has {size} bytes; at most {max_data_bytes} are allowed (max_data_bytes)")
    return Publication(channel, type, text, key, end, except_)


def _is_text(text: object, longest: int) -> bool:
    try:
        return isinstance(text, str) and 0 < len(text.encode()) <= longest
    except UnicodeEncodeError:
        return False


def _milliseconds(until: datetime | float | None) -> int | None:
    """Returns a time in Unix milliseconds, -1 for what is none."""
    if until is None:
        return None
    if isinstance(until, datetime):
        # Without a time zone it is another time on each machine.
        return int(until.timestamp() * 1000) if until.tzinfo else -1
    try:
        return int(float(until) * 1000)
    except (TypeError, ValueError, OverflowError):
        return -1


def _text(data: Any) -> str | None:
    """Returns the text of an event's data, if it has one."""
    try:
        if isinstance(data, bytes | bytearray | memoryview):
            return bytes(data).decode()
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError, RecursionError):
        return None
    return text
