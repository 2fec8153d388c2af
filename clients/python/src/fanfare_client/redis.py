"""Publishing with the application's own client of Redis, of the package `redis`."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from .errors import SendError
from .event import Publication
from .transport import Receipt, Transport

# Errors of Redis after which another attempt may succeed: classes of the package, or the code in the message. Redis did nothing.
PASSING_CLASSES = {"OutOfMemoryError", "BusyLoadingError", "ReadOnlyError", "MasterDownError", "TryAgainError", "ClusterDownError"}
PASSING_CODES = {"OOM", "LOADING", "MISCONF", "NOREPLICAS", "READONLY", "MASTERDOWN", "BUSY", "TRYAGAIN", "CLUSTERDOWN"}
# Redis answers, and an operator must act.
FINAL_CLASSES = {"ResponseError", "AuthenticationError", "AuthorizationError"}
SPELLING = str.maketrans({":": "_", "_": "__", "-": "___", ".": "____"})


class RedisClient(Protocol):
    """A `redis.Redis`, connected to database 0."""

    connection_pool: Any

    def get_retry(self) -> Any: ...  # noqa: D102
    def ping(self) -> Any: ...  # noqa: D102
    def pipeline(self, transaction: bool = ...) -> Any: ...  # noqa: D102


def over_redis(client: RedisClient, *, prefix: str = "fanfare") -> Transport:
    """Publishes with the function `fanfare_publish` (FCALL): the answer has the event's position.

    Redis must run, and a node must have run since Redis lost its data.

    Raises:
        TypeError: The client waits without a limit, or sends a command again by itself, which could be after the event's `until`.
    """
    retry = client.get_retry()
    if retry is not None and retry.get_retries() != 0:
        raise TypeError("make the client of Redis with retry=Retry(NoBackoff(), 0): the publisher retries")
    name = f"{prefix.translate(SPELLING)}_publish"

    def command(event: Publication) -> list[str]:
        words = [event.type or "", event.data, event.key, *([event.except_] if event.except_ else [])]
        return ["FCALL", name, "1", f"{prefix}:{{{event.channel}}}:log", *words]

    def receipt(event: Publication, reply: Any) -> Receipt:
        return Receipt(event.key, _str(reply[0]), int(reply[1]) == 1)

    return _Redis(client, command, receipt, direct=True)


def over_intake(client: RedisClient, *, prefix: str = "fanfare") -> Transport:
    """Publishes with the durable intake (XADD): Redis must run, and the nodes need not.

    The nodes publish the entry later, or drop it after its `until`.

    Raises:
        TypeError: The client waits without a limit.
    """

    def command(event: Publication) -> list[str]:
        fields = {
            **{"channel": event.channel, "type": event.type, "data": event.data, "key": event.key},
            **{"until": event.until, "except": event.except_},
        }
        present = [str(text) for name, value in fields.items() if value is not None for text in (name, value)]
        return ["XADD", f"{prefix}:ingest", "*", *present]

    return _Redis(client, command, lambda event, reply: Receipt(event.key, _str(reply), False), direct=False)


class _Redis:
    def __init__(
        self,
        client: RedisClient,
        command: Callable[[Publication], list[str]],
        receipt: Callable[[Publication, Any], Receipt],
        *,
        direct: bool,
    ) -> None:
        if not client.connection_pool.connection_kwargs.get("socket_timeout"):
            raise TypeError("make the client of Redis with socket_timeout: a Redis that stands still would stop the publisher")
        self._client = client
        self._command = command
        self._receipt = receipt
        self._direct = direct

    def send(self, events: Sequence[Publication], timeout: float) -> Sequence[Receipt | SendError]:
        end = time.monotonic() + timeout
        try:
            if self._direct and any(event.until is not None for event in events):
                # A new connection may take a while.
                self._client.ping()
        except Exception as error:
            failure = _failure(error, sent=False)
            # A user without the right to PING has a connection, too.
            if failure.retry:
                raise failure from error
        if time.monotonic() >= end:
            raise SendError("unavailable", "no connection in time", retry=True, unknown=False)
        pipeline = self._client.pipeline(transaction=False)
        for event in events:
            pipeline.execute_command(*self._command(event))
        try:
            replies = pipeline.execute(raise_on_error=False)
        except Exception as error:
            raise _failure(error, sent=True) from error
        pairs = zip(events, replies, strict=True)
        return [
            _failure(reply, sent=True) if isinstance(reply, Exception) else self._receipt(event, reply) for event, reply in pairs
        ]

    def close(self) -> None:
        """The client is the application's."""


def _failure(error: Exception, *, sent: bool) -> SendError:
    classes = {kind.__name__ for kind in type(error).__mro__}
    message = str(error)
    # Redis lost its data, and no node has loaded the function again yet.
    lost = message == "Function not found"
    if classes & PASSING_CLASSES or message.split(" ")[0] in PASSING_CODES or lost:
        return SendError("unavailable", message, retry=True, unknown=False)
    if classes & FINAL_CLASSES:
        return SendError("refused", message, retry=False, unknown=False)
    return SendError("unavailable", message, retry=True, unknown=sent)


def _str(reply: Any) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)
