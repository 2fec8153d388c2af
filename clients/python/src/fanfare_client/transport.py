"""The ways to publish have one interface."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from .errors import SendError
from .event import Publication


class Receipt(NamedTuple):
    """What became of an event."""

    #: The event's idempotency key.
    key: str
    #: The event's position in its channel; over the intake, the id of its entry.
    id: str
    #: Whether the key was used before, by a retry or by another call. False over the intake, where that is decided later.
    repeat: bool


class Transport(Protocol):
    """One way to publish. `over_http`, `over_redis` and `over_intake` make one."""

    def send(self, events: Sequence[Publication], timeout: float) -> Sequence[Receipt | SendError]:
        """Sends events once, in their order, and returns one result for each.

        Nothing may be sent when `timeout` seconds have passed.

        Raises:
            SendError: All of them failed for one reason. Any other exception counts as a missing answer.
        """
        ...

    def close(self) -> None:
        """Ends the connections that the transport itself has opened. The last call of a publisher."""
        ...
