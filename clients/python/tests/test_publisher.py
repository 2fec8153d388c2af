"""The publisher with transports of the test."""

import asyncio
import http.server
import json
import os
import signal
import threading
import time
import unittest
from concurrent.futures import wait
from datetime import UTC, datetime
from unittest import mock
from uuid import UUID

from fanfare_client import AsyncPublisher, Publisher, PublishError, Receipt, SendError, over_http, over_intake, over_redis
from fanfare_client.event import Publication, check

# An event that would be tried for ever fails its test after some time.
FAST = {"min_delay": 0.002, "max_delay": 0.01, "retry_for": 20}


def stored(event, _n=0):
    return Receipt(event.key, "1-0", False)


def refused(retry_after=None):
    return SendError("unavailable", "not now", retry=True, unknown=False, retry_after=retry_after)


class Fake:
    """A transport that notes what it is given. `answer` gets the event and the number of the batch."""

    def __init__(self, answer=stored, held=False):
        self.answer = answer
        self.batches = []
        self.release = threading.Event()
        self.began = threading.Event()
        if not held:
            self.release.set()

    def close(self):
        self.closed = True

    @property
    def events(self):
        return [event for batch in self.batches for event in batch]

    def send(self, events, timeout):
        n = len(self.batches)
        self.batches.append(events)
        self.began.set()
        self.release.wait(60)
        return [self.answer(event, n) for event in events]


class Case(unittest.TestCase):
    def publisher(self, transport, **options):
        publisher = Publisher(transport, **{**FAST, **options})
        self.addCleanup(publisher.close, 0.1)
        if isinstance(transport, Fake):
            self.addCleanup(transport.release.set)
        return publisher

    def fails(self, code, call, *args, **options):
        with self.assertRaises(PublishError) as raised:
            call(*args, **options)
        self.assertEqual(raised.exception.code, code)
        return raised.exception


class Keys(Case):
    def test_each_event_has_a_key_of_its_own_the_same_in_each_attempt(self):
        transport = Fake(lambda event, n: refused() if n < 3 else stored(event))
        publisher = self.publisher(transport)
        receipts = [future.result() for future in [publisher.submit("a", 1), publisher.submit("b", 2)]]
        keys = {event.key for event in transport.events}
        self.assertEqual(keys, {receipt.key for receipt in receipts})
        self.assertGreaterEqual(len(transport.events), 5)
        for key in keys:
            uuid = UUID(key)
            self.assertEqual((uuid.version, uuid.variant), (7, "specified in RFC 4122"))
            self.assertLess(abs((uuid.int >> 80) / 1000 - time.time()), 60)
        self.assertEqual((publisher.counts.published, publisher.counts.failed), (2, 0))

    def test_the_applications_key_is_used_and_a_repeat_is_counted(self):
        publisher = self.publisher(Fake(lambda event, _: Receipt(event.key, "1-0", True)))
        self.assertEqual(publisher.publish("a", 1, key="order-7"), ("order-7", "1-0", True))
        self.assertEqual(publisher.counts.repeated, 1)


class Retries(Case):
    def test_an_attempt_that_fails_without_a_reason_is_repeated(self):
        class Broken(Fake):
            def send(self, events, timeout):
                results = super().send(events, timeout)
                n = len(self.batches)
                if n == 1:
                    raise OSError("broken")
                return [] if n == 2 else [None] if n == 3 else results

        transport = Broken()
        self.publisher(transport).publish("a", 1)
        self.assertEqual(len(transport.batches), 4)

    def test_the_next_attempt_waits_for_the_time_that_the_server_asks_for(self):
        times = []

        def answer(event, n):
            times.append(time.monotonic())
            return stored(event) if n else refused(0.15)

        self.publisher(Fake(answer)).publish("a", 1)
        self.assertGreaterEqual(times[1] - times[0], 0.15)

    def test_waits_are_random_and_grow(self):
        transport = Fake(lambda event, n: stored(event) if n == 4 else refused())
        with mock.patch("random.uniform", side_effect=lambda _, most: most) as uniform:
            self.publisher(transport, min_delay=0.01, max_delay=0.04).publish("a", 1)
        self.assertEqual([call.args[1] for call in uniform.call_args_list], [0.01, 0.02, 0.04, 0.04])

    def test_a_refusal_is_final_and_concerns_one_event(self):
        no = SendError("no-grant", "no", retry=False, unknown=False)
        transport = Fake(lambda event, _: no if event.channel == "b" else stored(event))
        publisher = self.publisher(transport)
        futures = [publisher.submit(channel, 1, key=channel) for channel in "abc"]
        error = self.fails("no-grant", futures[1].result)
        self.assertEqual((error.channel, error.key, error.unknown, error.__cause__), ("b", "b", False, no))
        self.assertEqual([futures[n].result().key for n in (0, 2)], ["a", "c"])
        self.assertEqual(len(transport.events), 3)


class Batches(Case):
    def sent(self, channels, data="x", **options):
        transport = Fake(held=True)
        publisher = self.publisher(transport, **options)
        publisher.submit("first", 0)
        transport.began.wait()
        futures = [publisher.submit(channel, data) for channel in channels]
        transport.release.set()
        wait(futures)
        return ["".join(event.channel for event in batch) for batch in transport.batches[1:]]

    def test_what_waits_is_sent_together_one_event_of_each_channel_and_no_more_than_fit(self):
        self.assertEqual(self.sent("abacda", batch_events=3), ["abc", "ad", "a"])
        self.assertEqual(self.sent("abcd", data="x" * 60, batch_bytes=250), ["ab", "cd"])

    def ordering(self, **options):
        seen, log = set(), []

        def answer(event, _):
            if int(event.data) % 2 and event.key not in seen:
                seen.add(event.key)
                return refused()
            log.append(int(event.data))
            return stored(event)

        publisher = self.publisher(Fake(answer), **options)
        wait([publisher.submit("a", n) for n in range(20)])
        return log

    def test_the_events_of_a_channel_keep_their_order_when_some_fail(self):
        self.assertEqual(self.ordering(), list(range(20)))

    def test_without_that_order_the_events_of_a_channel_are_sent_together(self):
        self.assertEqual(sorted(self.ordering(ordered=False)), list(range(20)))
        self.assertEqual(self.sent("aaaa", ordered=False), ["aaaa"])


class Until(Case):
    def test_an_event_is_not_sent_after_its_until_not_at_once_and_not_again(self):
        transport = Fake(lambda *_: refused())
        publisher = self.publisher(transport)
        late = self.fails("expired", publisher.publish, "a", 1, until=time.time() - 0.001)
        self.assertEqual((late.unknown, transport.events), (False, []))
        end = time.time() + 0.1
        error = self.fails("expired", publisher.publish, "a", 2, until=datetime.fromtimestamp(end, UTC))
        self.assertEqual((error.unknown, error.__cause__.code), (False, "unavailable"))
        self.assertGreaterEqual(time.time(), end - 0.001)
        count = len(transport.events)
        self.assertGreater(count, 1)
        time.sleep(0.05)
        self.assertEqual((len(transport.events), publisher.counts.expired), (count, 2))

    def test_an_event_that_waits_behind_others_is_not_sent_after_its_until(self):
        transport = Fake(held=True)
        publisher = self.publisher(transport)
        first = publisher.submit("a", 1)
        transport.began.wait()
        second = publisher.submit("a", 2, until=time.time() + 0.03)
        time.sleep(0.06)
        transport.release.set()
        first.result()
        self.assertFalse(self.fails("expired", second.result).unknown)
        self.assertEqual([event.data for event in transport.events], ["1"])

    def test_an_attempt_ends_at_the_events_until_and_nobody_knows_the_outcome(self):
        limits = []

        class Slow:
            def send(self, events, timeout):
                limits.append(timeout)
                time.sleep(timeout)
                raise TimeoutError

            def close(self):
                pass

        error = self.fails("expired", self.publisher(Slow()).publish, "a", 1, until=time.time() + 0.05)
        self.assertTrue(error.unknown)
        self.assertLessEqual(limits[0], 0.05)

    def test_an_event_without_until_is_given_up_after_retry_for(self):
        begun = time.monotonic()
        self.fails("expired", self.publisher(Fake(lambda *_: refused(10)), retry_for=0.05).publish, "a", 1)
        self.assertGreaterEqual(time.monotonic() - begun, 0.05)
        for seconds in (600, float("nan")):
            self.assertRaises(ValueError, Publisher, Fake(), retry_for=seconds)
        self.publisher(Fake(), retry_for=600, idempotency_window=601)


class Buffer(Case):
    def test_the_buffer_is_bounded_in_number_and_bytes(self):
        for limit in ({"buffer_events": 3}, {"buffer_bytes": 400}):
            transport = Fake(held=True)
            publisher = self.publisher(transport, **limit)
            futures = [publisher.submit("a", "x" * 80) for _ in range(3)]
            self.assertFalse(self.fails("full", publisher.submit, "a", "x" * 80).unknown)
            self.assertFalse(publisher.ready(0.01))
            # `publish` waits for room: until it is too late, or there is some.
            self.fails("expired", publisher.publish, "a", "x" * 80, until=time.time() + 0.02)
            waiting = threading.Thread(target=publisher.publish, args=("b", "x" * 80))
            waiting.start()
            transport.release.set()
            waiting.join()
            self.assertTrue(publisher.ready())
            wait(futures)
            self.assertEqual((publisher.counts.published, publisher.counts.expired), (4, 1))

    def test_an_event_can_be_taken_back(self):
        transport = Fake(held=True)
        publisher = self.publisher(transport)
        sent = publisher.submit("a", 1)
        transport.began.wait()
        waiting = publisher.submit("a", 2)
        self.assertTrue(waiting.cancel() and sent.cancel())
        transport.release.set()
        publisher.publish("a", 3)
        self.assertEqual([event.data for event in transport.events], ["1", "3"])

    def test_close_publishes_what_waits_and_takes_nothing_more(self):
        transport = Fake(lambda event, n: refused() if n < 2 else stored(event))
        with Publisher(transport, **FAST) as publisher:
            futures = [publisher.submit("a", n) for n in range(3)]
        self.assertTrue(all(future.done() for future in futures))
        self.assertEqual(publisher.counts.published, 3)
        self.fails("closed", publisher.publish, "a", 4)
        self.assertTrue(transport.closed)
        self.assertNotIn("fanfare-publisher", [thread.name for thread in threading.enumerate()])

    def test_close_gives_up_after_its_time_and_says_what_may_have_been_stored(self):
        transport = Fake(held=True)
        publisher = self.publisher(transport)
        futures = [publisher.submit("a", n) for n in range(2)]
        transport.began.wait()
        publisher.close(0.02)
        self.assertEqual([self.fails("closed", future.result).unknown for future in futures], [True, False])

    def test_flush_waits_for_the_events_before_it(self):
        transport = Fake(held=True)
        publisher = self.publisher(transport)
        future = publisher.submit("a", 1)
        self.assertFalse(publisher.flush(0.01))
        transport.release.set()
        self.assertTrue(publisher.flush() and future.done())

    def test_a_forked_process_begins_with_an_empty_buffer(self):
        transport = Fake(held=True)
        publisher = self.publisher(transport)
        publisher.submit("a", "of the parent")
        transport.began.wait()
        child = os.fork()
        if not child:
            signal.alarm(20)
            transport.release.set()
            transport.batches.clear()
            publisher.publish("a", "of the child")
            os._exit(0 if [event.data for event in transport.events] == ["of the child"] else 1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)


class Asyncio(Case):
    def test_calls_are_awaited_and_a_cancelled_one_takes_its_event_back(self):
        async def main():
            transport = Fake(held=True)
            async with AsyncPublisher(self.publisher(transport, buffer_events=2)) as publisher:
                first = asyncio.ensure_future(publisher.publish("a", 1))
                await asyncio.to_thread(transport.began.wait)
                second = asyncio.ensure_future(publisher.publish("a", 2))
                await asyncio.sleep(0.01)
                with self.assertRaises(PublishError) as raised:
                    await publisher.publish("a", 3)
                self.assertEqual(raised.exception.code, "full")
                second.cancel()
                await publisher.ready()
                third = asyncio.ensure_future(publisher.publish("a", 3))
                await asyncio.sleep(0.01)
                transport.release.set()
                await publisher.flush()
                self.assertEqual((await first).id, "1-0")
                await third
            self.assertEqual([event.data for event in transport.events], ["1", "3"])
            self.assertEqual(publisher.counts.published, 2)

        asyncio.run(main())


class Checks(unittest.TestCase):
    """What tests/test_nodes.py does not compare with a node."""

    def test_data_is_text_bytes_or_json(self):
        given = ["plain", b"\xef\xbb\xbfbytes \xc3\xa4", {"a": [1, "ä", None]}, 7, None]
        texts = [check("a", data, None, None, None, 1000).data for data in given]
        self.assertEqual(texts, ["plain", "\ufeffbytes ä", '{"a":[1,"ä",null]}', "7", "null"])
        for data in ["\ud83d", b"\xff", object(), float("nan"), {1, 2}]:
            with self.assertRaises(PublishError) as raised:
                check("a", data, None, None, None, 1000)
            self.assertEqual(raised.exception.code, "bad-event")

    def test_until_is_a_datetime_with_a_time_zone_or_seconds(self):
        self.assertEqual(check("a", 1, None, None, datetime(2030, 1, 1, tzinfo=UTC), 10).until, 1893456000000)
        self.assertEqual(check("a", 1, None, None, 1893456000.25, 10).until, 1893456000250)
        for until in [datetime(2030, 1, 1), "soon", float("nan"), float("inf"), -1]:
            with self.assertRaises(PublishError) as raised:
                check("a", 1, None, None, until, 10)
            self.assertEqual(raised.exception.code, "bad-event")


EVENT = Publication("room:7", "note", '{"a":1}', "k", None)
PLAIN = Publication("room:7", None, "x", "k", 99)


class Http(unittest.TestCase):
    """A server of the test that answers as it is told."""

    def setUp(self):
        test = self
        self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                test.requests.append((self.path, dict(self.headers), json.loads(body), self.client_address))
                status, headers, text = test.answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.url = f"http://127.0.0.1:{server.server_port}/v1/publish"

    def send(self, status, body, headers=None, **options):
        self.answer = (status, headers or {}, body if isinstance(body, bytes) else json.dumps(body).encode())
        transport = over_http(self.url, **options)
        try:
            return transport.send([EVENT], 5)[0]
        except Exception as error:
            return error
        finally:
            transport.close()

    def test_the_data_is_sent_as_text_with_the_key_over_one_connection(self):
        self.answer = (200, {}, b'[{"id":"5-1","repeat":true},{"id":"5-2","repeat":false}]')
        transport = over_http(self.url, token=lambda: "t", headers={"x-a": "b"})
        for _ in range(2):
            receipts = transport.send([EVENT, PLAIN], 5)
        transport.close()
        self.assertEqual(receipts, [("k", "5-1", True), ("k", "5-2", False)])
        (path, headers, body, address), (*_, again) = self.requests
        self.assertEqual((path, address), ("/v1/publish", again))
        self.assertEqual((headers["authorization"], headers["x-a"]), ("Bearer t", "b"))
        item = {"channel": "room:7", "type": "note", "data": '{"a":1}', "key": "k"}
        self.assertEqual(body, [item, {"channel": "room:7", "data": "x", "key": "k"}])

    def test_answers_are_told_apart_final_again_or_unknown(self):
        rows = [
            (429, "rate-limited", True, False),
            (503, "draining", True, False),
            (503, "busy", True, False),
            (503, "unavailable", True, True),
            (500, "internal", True, True),
            (408, "request-timeout", True, False),
            (501, "not-implemented", False, True),
            (400, "bad-json", False, False),
            (401, "expired-token", False, False),
            (403, "no-grant", False, False),
            (413, "too-large", False, False),
        ]
        for status, code, retry, unknown in rows:
            problem = {"status": status, "code": code, "title": code}
            whole = self.send(status, problem, {"retry-after": "3"})
            self.assertEqual((whole.code, whole.retry, whole.unknown, whole.retry_after), (code, retry, unknown, 3.0))
            item = self.send(200, [{"error": problem}])
            self.assertEqual((item.code, item.retry, item.unknown), (code, retry, unknown))
        self.assertTrue(self.send(401, {}, token=lambda: "new").retry)
        self.assertEqual(self.send(502, b"<html>").code, "http-502")
        for body in (b"<html>", b"{}", b"[]"):
            self.assertNotIsInstance(self.send(200, body), (SendError, Receipt))

    def test_a_url_of_another_kind_is_refused(self):
        for url in ("push.example/v1/publish", "ftp://a/b", "http:///v1/publish"):
            self.assertRaises(ValueError, over_http, url)


class OutOfMemoryError(Exception):
    """As in the package `redis`."""


class ResponseError(Exception):
    pass


class NoPermissionError(ResponseError):
    pass


class BusyLoadingError(ConnectionError):
    pass


class Client:
    """A client of Redis that answers with this."""

    def __init__(self, reply, socket_timeout=5, retries=0):
        self.reply = reply
        self.commands = []
        self.connection_pool = mock.Mock(connection_kwargs={"socket_timeout": socket_timeout})
        self.get_retry = lambda: mock.Mock(get_retries=lambda: retries)

    def pipeline(self, transaction):
        assert not transaction
        return self

    def ping(self):
        self.commands.append("PING")

    def execute_command(self, *command):
        self.commands.append(list(command))

    def execute(self, raise_on_error):
        if isinstance(self.reply, ConnectionError):
            raise self.reply
        return [self.reply]


class Redis(unittest.TestCase):
    def test_the_function_or_the_stream_gets_the_event_with_the_names_of_the_prefix(self):
        direct = Client([b"7-0", 1])
        self.assertEqual(over_redis(direct).send([EVENT], 5), [("k", "7-0", True)])
        over_redis(direct, prefix="app:x-y_z.1").send([PLAIN], 5)
        log = "app:x-y_z.1:{room:7}:log"
        self.assertEqual(
            direct.commands,
            [
                ["FCALL", "fanfare_publish", "1", "fanfare:{room:7}:log", "note", '{"a":1}', "k"],
                "PING",
                ["FCALL", "app_x___y__z____1_publish", "1", log, "", "x", "k"],
            ],
        )
        intake = Client("8-0", retries=3)
        self.assertEqual(over_intake(intake).send([EVENT], 5), [("k", "8-0", False)])
        over_intake(intake, prefix="app").send([PLAIN], 5)
        self.assertEqual(
            intake.commands,
            [
                ["XADD", "fanfare:ingest", "*", "channel", "room:7", "type", "note", "data", '{"a":1}', "key", "k"],
                ["XADD", "app:ingest", "*", "channel", "room:7", "data", "x", "key", "k", "until", "99"],
            ],
        )

    def test_errors_are_told_apart_final_again_or_unknown(self):
        rows = [
            (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), True, False),
            (BusyLoadingError("Redis is loading the dataset in memory"), True, False),
            (ResponseError("MISCONF Redis is configured to save RDB snapshots"), True, False),
            (ResponseError("Function not found"), True, False),
            (ResponseError("FANFARE the data is not UTF-8"), False, False),
            (NoPermissionError("User a has no permissions to run the 'fcall' command"), False, False),
            (ResponseError("unknown command"), False, False),
            (ConnectionError("Connection closed by server."), True, True),
        ]
        for error, retry, unknown in rows:
            try:
                [outcome] = over_redis(Client(error)).send([EVENT], 5)
            except SendError as raised:
                outcome = raised
            self.assertEqual((outcome.retry, outcome.unknown, str(outcome)), (retry, unknown, str(error)))

    def test_a_client_that_waits_without_a_limit_or_retries_is_refused(self):
        for make in (over_redis, over_intake):
            self.assertRaisesRegex(TypeError, "socket_timeout", make, Client(None, socket_timeout=None))
        self.assertRaisesRegex(TypeError, "retry", over_redis, Client(None, retries=3))

    def test_a_user_who_may_not_ping_publishes(self):
        client = Client([b"7-0", 0])
        client.ping = mock.Mock(side_effect=NoPermissionError("User a has no permissions to run the 'ping' command"))
        self.assertEqual(over_redis(client).send([PLAIN], 5), [("k", "7-0", False)])

    def test_nothing_is_sent_when_the_connection_took_too_long(self):
        client = Client([b"7-0", 0])
        client.ping = lambda: time.sleep(0.02)
        with self.assertRaises(SendError) as raised:
            over_redis(client).send([PLAIN], 0.01)
        self.assertEqual((raised.exception.unknown, client.commands), (False, []))


if __name__ == "__main__":
    unittest.main()
