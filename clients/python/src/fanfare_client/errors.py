"""What went wrong."""


class PublishError(Exception):
    """Says why an event was not published. Programs compare `code`.

    The codes: `bad-channel`, `bad-event` and `too-large` (the event is invalid), `full` (the buffer is), `expired` (`until`, or the
    time of `retry_for`, has passed), `closed` (the publisher was closed), `refused` (Redis refuses the event), and those of a
    node's problems, such as `no-grant`.
    """

    def __init__(self, code: str, message: str, *, channel: str, key: str, unknown: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.channel = channel
        #: The event's idempotency key. A later call with it stores nothing if the event was stored after all.
        self.key = key
        #: Whether the event may have been stored all the same: it was sent, and the answer is missing.
        self.unknown = unknown


class SendError(Exception):
    """One failed attempt to send an event. What else a transport raises counts as a missing answer: retried, `unknown`."""

    def __init__(self, code: str, message: str, *, retry: bool, unknown: bool, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        #: Whether another attempt may succeed.
        self.retry = retry
        #: Whether the event may have been stored.
        self.unknown = unknown
        #: Seconds that the server asks to wait.
        self.retry_after = retry_after
