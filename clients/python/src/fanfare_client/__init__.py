"""Publishes events to Fanfare.

`Publisher` is for threads (Django, Flask, scripts), `AsyncPublisher` for asyncio. Both publish over HTTP (`over_http`), or with the
application's own client of Redis (`over_redis`, `over_intake`). No other package is needed.
"""

from .asynchronous import AsyncPublisher
from .errors import PublishError, SendError
from .event import Publication
from .http import over_http
from .publisher import Counts, Publisher
from .redis import over_intake, over_redis
from .transport import Receipt, Transport

__all__ = [
    "AsyncPublisher",
    "Counts",
    "Publication",
    "PublishError",
    "Publisher",
    "Receipt",
    "SendError",
    "Transport",
    "over_http",
    "over_intake",
    "over_redis",
]
