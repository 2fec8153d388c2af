"""The publisher for threads."""

import atexit
import os
import random
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from .errors import PublishError, SendError
from .event import Publication, check, new_key
from .transport import Receipt, Transport

#: No wait is longer than this, whatever the server says, in seconds.
LONGEST = 3600.0


@dataclass(slots=True)
class Counts:
    """Counts of a publisher since it was made."""

    #: Events that were stored.
    published: int = 0
    #: Those of them whose key was used before.
    repeated: int = 0
    #: Events that were given up at their `until`, or after `retry_for`.
    expired: int = 0
    #: Events that were accepted and not published for another reason.
    failed: int = 0
    #: Attempts that were repeated, for each event.
    retries: int = 0


@dataclass(slots=True, eq=False)
class _Pending:
    event: Publication
    #: When it is given up, by the clock of `time.monotonic()`, which is not set back.
    end: float
    future: "Future[Receipt]" = field(default_factory=Future)
    attempts: int = 0
    #: Whether it may have been stored: by an earlier attempt, or by the one in progress.
    unknown: bool = False
    sending: bool = False
    cause: Exception | None = None

    @property
    def left(self) -> float:
        """Seconds for which it may still be sent; not positive once it is too late."""
        left = self.end - time.monotonic()
        return left if self.event.until is None else min(left, self.event.until / 1000 - time.time())

    def error(self, code: str, message: str) -> PublishError:
        error = PublishError(code, message, channel=self.event.channel, key=self.event.key, unknown=self.unknown or self.sending)
        error.__cause__ = self.cause
        return error


class Publisher:
    """Publishes events: each with a key of its own, in batches, again with the same key, and not after its `until`.

    Threads may share it. A thread of its own sends the events; it starts with the first one, also in a forked process.
    `with Publisher(…) as publisher:` closes it; without that, it is closed when the interpreter exits.

    Args:
        transport: what `over_http`, `over_redis` or `over_intake` returns, or an object of the application
        ordered: whether the events of a channel are stored in the order of the calls, whatever fails: an event is sent when the one
            before it in its channel is done. Otherwise they are sent together, and one that is sent again may follow later ones
        buffer_events: events that may wait
        buffer_bytes: their bytes
        batch_events: events that are sent together; at most `limits.batch_events`
        batch_bytes: their bytes; a sixth of `limits.batch_bytes` is always allowed
        max_data_bytes: `limits.event_data` of the nodes
        timeout: seconds that one attempt over HTTP may take; over Redis, that is the client's `socket_timeout`
        retry_for: seconds for which an event without an earlier `until` is tried
        idempotency_window: `publish.idempotency_window` of the nodes in seconds, which must be longer than `retry_for`
        min_delay: the first random wait is shorter than this, in seconds; it doubles
        max_delay: the longest random wait
    """

    def __init__(
        self,
        transport: Transport,
        *,
        ordered: bool = True,
        buffer_events: int = 1000,
        buffer_bytes: int = 8 * 1024 * 1024,
        batch_events: int = 100,
        batch_bytes: int = 1024 * 1024,
        max_data_bytes: int = 60 * 1024,
        timeout: float = 10.0,
        retry_for: float = 300.0,
        idempotency_window: float = 600.0,
        min_delay: float = 0.1,
        max_delay: float = 5.0,
    ) -> None:
        if not retry_for < idempotency_window:
            raise ValueError("retry_for must be shorter than idempotency_window: a later retry would store the event again")
        self.counts = Counts()
        self._transport = transport
        self._ordered = ordered
        self._buffer = (buffer_events, buffer_bytes)
        self._batch_limits = (batch_events, batch_bytes)
        self._max_data_bytes = max_data_bytes
        self._timeout = timeout
        self._retry_for = retry_for
        self._delays = (min_delay, max_delay)
        self._closed = False
        self._forget()
        _publishers.add(self)
        atexit.register(self.close)

    def _forget(self) -> None:
        """Begins with an empty buffer. In a forked process, the events belong to the parent."""
        self._changed = threading.Condition()
        # In the order of the calls; an event leaves when it is settled.
        self._queue: dict[_Pending, None] = {}
        self._bytes = 0
        self._not_before = 0.0
        self._thread: threading.Thread | None = None

    def publish(
        self,
        channel: str,
        data: Any,
        *,
        type: str | None = None,
        key: str | None = None,
        until: datetime | float | None = None,
        except_: str | None = None,
    ) -> Receipt:
        """Publishes an event, and waits until it is stored.

        Args:
            channel: 1 to 255 ASCII letters, digits and `-_.:@|/+=~%$!#&;`
            data: a `str` is sent as it is, `bytes` as their UTF-8 text, any other value as JSON
            type: 1 to 128 bytes without CR, LF and NUL
            key: idempotency key; without it the event gets a new one. Give one that the application can make again if the same
                event may be published by another call too
            until: when the event is worth nothing any more: a `datetime` with a time zone, or Unix seconds as of `time.time()`.
                It is not sent after that
            except_: the session that does not get the event: `<user>/<session>`, or `<session>` of a client without a user

        Raises:
            PublishError: The event is invalid, Fanfare refuses it, or it is too late.
        """
        pending = self._check(channel, data, type, key, until, except_)
        with self._changed:
            while not self._has_room(pending) and not self._closed and pending.left > 0:
                self._changed.wait(pending.left)
            self._add(pending, wait=True)
        return pending.future.result()

    def publish_each(
        self,
        channels: Sequence[str],
        data: Any,
        *,
        type: str | None = None,
        key: str | None = None,
        until: datetime | float | None = None,
        except_: str | None = None,
    ) -> list[Receipt]:
        """Publishes the same event to several channels, and waits until all have stored it.

        Each channel stores it by itself, with the same key. Returns the receipts in the order of the channels.

        Raises:
            PublishError: That of the first channel that fails; the others go on. A repeated call with the same `key` stores what is
                missing.
        """
        key = new_key() if key is None else key
        futures = [self.submit(channel, data, type=type, key=key, until=until, except_=except_) for channel in channels]
        return [future.result() for future in futures]

    def submit(
        self,
        channel: str,
        data: Any,
        *,
        type: str | None = None,
        key: str | None = None,
        until: datetime | float | None = None,
        except_: str | None = None,
    ) -> "Future[Receipt]":
        """Publishes an event without waiting: what `publish` would return or raise is in the result.

        `cancel()` of the result takes the event back: it is not sent any more.

        Raises:
            PublishError: The event is invalid, the publisher is closed, or its buffer is full (code `full`; `ready` waits for
                room).
        """
        pending = self._check(channel, data, type, key, until, except_)
        with self._changed:
            self._add(pending, wait=False)
        return pending.future

    def ready(self, timeout: float | None = None) -> bool:
        """Waits until the buffer has room for any event, at most this many seconds. Returns whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed or self._fits(self._max_data_bytes), timeout)

    def flush(self, timeout: float | None = None) -> bool:
        """Waits until the events of all earlier calls are settled, at most this many seconds. Returns whether they are."""
        with self._changed:
            futures = [pending.future for pending in self._queue]
        return not wait_for(futures, timeout).not_done

    def close(self, timeout: float = 10.0) -> None:
        """Takes no more events, and waits until all are settled. After these seconds the rest fails with the code `closed`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        self.flush(timeout)
        for pending in list(self._queue):
            self._settle(pending, pending.error("closed", "the publisher was closed before the event was stored"))
        if thread and thread is not threading.current_thread():
            thread.join(timeout)
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(
        self, channel: str, data: Any, type: str | None, key: str | None, until: datetime | float | None, except_: str | None
    ) -> _Pending:
        event = check(channel, data, type, key, until, self._max_data_bytes, except_)
        return _Pending(event, time.monotonic() + self._retry_for)

    def _fits(self, size: int) -> bool:
        """Returns whether an event has room. One that is larger than the buffer has room in an empty one."""
        events, most = self._buffer
        return not self._queue or (len(self._queue) < events and self._bytes + size <= most)

    def _has_room(self, pending: _Pending) -> bool:
        return self._fits(pending.event.size)

    def _add(self, pending: _Pending, *, wait: bool) -> None:
        if self._closed:
            raise pending.error("closed", "the publisher is closed")
        if not self._has_room(pending):
            if not wait:
                raise pending.error("full", "the buffer is full")
            self.counts.expired += 1
            raise pending.error("expired", "the event was not stored in time: the buffer is full")
        self._queue[pending] = None
        self._bytes += pending.event.size
        pending.future.add_done_callback(lambda future: self._settle(pending, None) if future.cancelled() else None)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="fanfare-publisher", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        try:
            while batch := self._next():
                self._attempt(batch)
        finally:
            self._transport.close()

    def _next(self) -> list[_Pending]:
        """Waits for events that may be sent. Returns none when the publisher is closed and empty."""
        while True:
            with self._changed:
                late = [pending for pending in self._queue if pending.left <= 0]
            for pending in late:
                self._settle(pending, pending.error("expired", "the event was not stored in time"))
            with self._changed:
                if not self._queue:
                    if self._closed:
                        return []
                    self._changed.wait()
                    continue
                wait = self._not_before - time.monotonic()
                if wait <= 0:
                    return self._batch()
                self._changed.wait(max(min(wait, *(pending.left for pending in self._queue)), 0))

    def _batch(self) -> list[_Pending]:
        events, most = self._batch_limits
        batch: list[_Pending] = []
        channels: set[str] = set()
        size = 0
        for pending in self._queue:
            if self._ordered and pending.event.channel in channels:
                continue
            size += pending.event.size
            if batch and (len(batch) == events or size > most):
                break
            channels.add(pending.event.channel)
            batch.append(pending)
            pending.attempts += 1
            pending.sending = True
        return batch

    def _attempt(self, batch: list[_Pending]) -> None:
        results = self._send(batch)
        again = []
        for pending, result in zip(batch, results, strict=True):
            if isinstance(result, Receipt):
                self._settle(pending, result)
                continue
            pending.sending = False
            pending.unknown |= result.unknown
            pending.cause = result
            if not result.retry:
                self._settle(pending, pending.error(result.code, str(result)))
            elif pending in self._queue:
                again.append(result)
        if again:
            self._pause(max(pending.attempts for pending in batch), again)

    def _send(self, batch: list[_Pending]) -> Sequence[Receipt | SendError]:
        """Sends events, and returns one result for each. The attempt ends before the first of them is too late."""
        left = min(pending.left for pending in batch)
        if left <= 0:
            return [SendError("unavailable", "not sent: too late", retry=True, unknown=False) for _ in batch]
        try:
            results = self._transport.send([pending.event for pending in batch], min(self._timeout, left))
            if len(results) != len(batch) or not all(isinstance(result, Receipt | SendError) for result in results):
                raise TypeError("the transport has not one result for each event")
            return results
        except SendError as error:
            return [error] * len(batch)
        except Exception as error:
            return [SendError("unavailable", str(error) or type(error).__name__, retry=True, unknown=True)] * len(batch)

    def _pause(self, attempts: int, failures: list[SendError]) -> None:
        """Has the next batch wait, with full jitter: those who share a failure shall not come back together."""
        self.counts.retries += len(failures)
        shortest, longest = self._delays
        wait = random.uniform(0, min(longest, shortest * 2.0 ** min(attempts - 1, 64)))
        asked = max((failure.retry_after or 0.0 for failure in failures), default=0.0)
        self._not_before = time.monotonic() + min(asked + wait, LONGEST)

    def _settle(self, pending: _Pending, outcome: Receipt | PublishError | None) -> None:
        """Removes an event from the buffer and reports what became of it: None if it was taken back."""
        with self._changed:
            if pending not in self._queue:
                return
            del self._queue[pending]
            self._bytes -= pending.event.size
            self._changed.notify_all()
            if isinstance(outcome, Receipt):
                self.counts.published += 1
                self.counts.repeated += outcome.repeat
            elif outcome is not None and outcome.code == "expired":
                self.counts.expired += 1
            else:
                self.counts.failed += 1
        # Fails if it was cancelled meanwhile.
        if outcome is not None and pending.future.set_running_or_notify_cancel():
            if isinstance(outcome, Receipt):
                pending.future.set_result(outcome)
            else:
                pending.future.set_exception(outcome)


_publishers: "weakref.WeakSet[Publisher]" = weakref.WeakSet()


def _after_fork() -> None:
    for publisher in list(_publishers):
        publisher._forget()


os.register_at_fork(after_in_child=_after_fork)
