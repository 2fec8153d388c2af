"""The publisher for asyncio."""

import asyncio
from datetime import datetime
from typing import Any, Self

from .publisher import Counts, Publisher
from .transport import Receipt


class AsyncPublisher:
    """A `Publisher` whose calls are awaited: `async with AsyncPublisher(Publisher(…)) as publisher:`.

    The thread of the `Publisher` sends the events, so a client of Redis is a `redis.Redis` here too. A task that is cancelled takes
    its event back.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    @property
    def counts(self) -> Counts:
        """Counts since it was made."""
        return self._publisher.counts

    async def publish(
        self,
        channel: str,
        data: Any,
        *,
        type: str | None = None,
        key: str | None = None,
        until: datetime | float | None = None,
        except_: str | None = None,
    ) -> Receipt:
        """Publishes an event. Returns when it is stored.

        Raises:
            PublishError: The event is invalid, the buffer is full (code `full`; `ready` waits for room), Fanfare refuses it, or it
                is too late.
        """
        return await asyncio.wrap_future(self._publisher.submit(channel, data, type=type, key=key, until=until, except_=except_))

    async def ready(self) -> None:
        """Waits until the buffer has room for any event."""
        await asyncio.to_thread(self._publisher.ready)

    async def flush(self) -> None:
        """Waits until the events of all earlier calls are settled."""
        await asyncio.to_thread(self._publisher.flush)

    async def close(self, timeout: float = 10.0) -> None:
        """Takes no more events, and waits until all are settled. After these seconds the rest fails with the code `closed`."""
        await asyncio.to_thread(self._publisher.close, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
