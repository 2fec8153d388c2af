"""Publishing over HTTP."""

import http.client
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from .errors import SendError
from .event import Publication
from .transport import Receipt, Transport

# Problems with status 503 of a node that has not given the event to Redis.
NOT_SENT = {"busy", "draining", "overloaded"}


def over_http(url: str, *, token: str | Callable[[], str] | None = None, headers: Mapping[str, str] | None = None) -> Transport:
    """Publishes with `POST /v1/publish`, over one connection of the standard library.

    Args:
        url: the whole URL, at a node or a load balancer
        token: the bearer token, an API key, or a function that returns one and is called for each request
        headers: further headers of each request
    """
    return _Http(url, token, dict(headers or {}))


class _Http:
    def __init__(self, url: str, token: str | Callable[[], str] | None, headers: dict[str, str]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not a URL with http or https: {url}")
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection: http.client.HTTPConnection = kind(parts.hostname, parts.port)
        self._process = os.getpid()
        self._token = token
        self._headers = headers

    def send(self, events: Sequence[Publication], timeout: float) -> Sequence[Receipt | SendError]:
        end = time.monotonic() + timeout
        headers = {**self._headers, "content-type": "application/json"}
        token = self._token() if callable(self._token) else self._token
        if token:
            headers["authorization"] = f"Bearer {token}"
        body = json.dumps([_item(event) for event in events], ensure_ascii=False).encode()
        try:
            status, text, retry_after = self._exchange(body, headers, end)
        except BaseException:
            # What is left of a broken exchange must not answer the next one.
            self._connection.close()
            raise
        if status != 200:
            problem = _json(text)
            raise _failure(status, problem if isinstance(problem, dict) else {}, retry_after, callable(self._token))
        results = _json(text)
        if not isinstance(results, list) or len(results) != len(events):
            raise ValueError("the answer is not that of a node")
        return [_result(result, event) for result, event in zip(results, events, strict=True)]

    def close(self) -> None:
        self._connection.close()

    def _exchange(self, body: bytes, headers: dict[str, str], end: float) -> tuple[int, bytes, float | None]:
        connection = self._connection
        if self._process != os.getpid():
            # A forked process must not share its parent's connection.
            connection.close()
            self._process = os.getpid()
        connection.timeout = max(end - time.monotonic(), 0.001)
        if connection.sock is None:
            try:
                connection.connect()
            except OSError as error:
                raise SendError("unavailable", f"cannot connect: {error}", retry=True, unknown=False) from error
        left = end - time.monotonic()
        if left <= 0:
            raise SendError("unavailable", "no connection in time", retry=True, unknown=False)
        connection.sock.settimeout(left)
        connection.request("POST", self._path, body, headers)
        response = connection.getresponse()
        return response.status, response.read(), _seconds(response.getheader("retry-after"))


def _item(event: Publication) -> dict[str, str]:
    item = {"channel": event.channel, "type": event.type, "data": event.data, "key": event.key, "except": event.except_}
    return {name: value for name, value in item.items() if value is not None}


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _result(result: dict[str, Any], event: Publication) -> Receipt | SendError:
    """Returns what a node says of one event of a batch."""
    if "error" in result:
        problem = result["error"]
        return _failure(problem["status"], problem, None, False)
    return Receipt(event.key, str(result["id"]), bool(result["repeat"]))


def _failure(status: int, problem: dict[str, Any], retry_after: float | None, can_renew_token: bool) -> SendError:
    code = str(problem.get("code", f"http-{status}"))
    passes = status in (408, 425, 429) or (status >= 500 and status != 501)
    return SendError(
        code,
        f"{status} {problem.get('title', code)}: {problem.get('detail', '')}".rstrip(": "),
        retry=passes or (status == 401 and can_renew_token),
        unknown=status >= 500 and code not in NOT_SENT,
        retry_after=retry_after,
    )


def _seconds(value: str | None) -> float | None:
    """Returns the seconds of a `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date."""
    if not value:
        return None
    if value.isdecimal():
        return float(value)
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except ValueError:
        return None
