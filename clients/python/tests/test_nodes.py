"""The publisher, each way, on a real Redis that is killed, loads its data, stands still and refuses, and a node that drains.

Every event is stored once and in order, and nothing after its `until`.
"""

import json
import re
import signal
import threading
import time
import unittest
import urllib.error
import urllib.request

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from support import PATIENCE, ROOT, Node, Redis, until

from fanfare_client import Publisher, PublishError, Receipt, over_http, over_intake, over_redis

CHANNELS = 3
SESSION = "0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11"
# Attempts end soon, so that a Redis that stands still for longer leaves commands behind that nobody waits for.
OPTIONS = {"timeout": 0.5, "min_delay": 0.02, "max_delay": 0.2, "retry_for": 2 * PATIENCE}

server = node = admin = client = None


def connect(**options):
    return redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0), decode_responses=True, **options)


def setUpModule():
    global server, node, admin, client
    server = Redis().start()
    unittest.addModuleCleanup(lambda: server.stop())
    node = Node(server).start()
    unittest.addModuleCleanup(lambda: node.stop(signal.SIGKILL))
    admin = connect(socket_timeout=PATIENCE)
    client = connect(socket_timeout=OPTIONS["timeout"])
    unittest.addModuleCleanup(lambda: (admin.close(), client.close()))


WAYS = {
    "HTTP": lambda: over_http(f"{node.url}/v1/publish"),
    "Redis": lambda: over_redis(client),
    "intake": lambda: over_intake(client),
}


def stored(channel):
    """Returns the data of what a channel has stored."""
    return [fields["d"] for _, fields in admin.xrange(f"fanfare:{{{channel}}}:log")]


def answered(*command):
    """Waits until a command succeeds: Redis may be loading."""

    def succeeds():
        try:
            return admin.execute_command(*command) is not None
        except redis.RedisError:
            return False

    until(succeeds, command)


def reply(*command):
    try:
        return admin.execute_command(*command)
    except redis.RedisError as error:
        return error


def kill_redis(noticed):
    server.kill()
    until(noticed, "all notice that Redis is down")
    server.start(loading=300)
    until(lambda: isinstance(reply("DBSIZE"), redis.BusyLoadingError), "Redis loads")
    time.sleep(0.3)
    answered("CONFIG", "SET", "key-load-delay", "0")
    until(lambda: isinstance(reply("DBSIZE"), int), "Redis has loaded")


def stop_redis(noticed):
    server.signal(signal.SIGSTOP)
    until(noticed, "all notice that Redis stands still")
    server.signal(signal.SIGCONT)


def fill_redis(noticed):
    answered("CONFIG", "SET", "maxmemory", "1")
    until(noticed, "all notice that Redis is out of memory")
    answered("CONFIG", "SET", "maxmemory", "0")


def lose_functions(noticed):
    def lost():
        # A node may load them again at once.
        answered("FUNCTION", "FLUSH")
        return noticed()

    until(lost, "all who call a function notice that it is lost")


def drain_node(noticed):
    node.stop()
    until(noticed, "all notice that the node is gone")
    node.start()


# The faults, one after another, each with the ways that notice it: it lasts until they have.
FAULTS = [
    (kill_redis, "HTTP Redis intake"),
    (stop_redis, "HTTP Redis intake"),
    (fill_redis, "HTTP Redis intake"),
    (lose_functions, "Redis"),
    (drain_node, "HTTP"),
]


class Numbering:
    """Publishes numbered events to some channels until it is stopped, each with the next one before it is stored."""

    def __init__(self, transport, channels):
        self.publisher = Publisher(transport, **OPTIONS)
        self.counts = dict.fromkeys(channels, 0)
        self._stopped = threading.Event()
        self._futures = []
        self._threads = [threading.Thread(target=self._number, args=(channel,)) for channel in channels]
        for thread in self._threads:
            thread.start()

    def _number(self, channel):
        while not self._stopped.wait(0.005):
            self.publisher.ready()
            try:
                self._futures.append(self.publisher.submit(channel, self.counts[channel] + 1))
            except PublishError as error:
                # Another thread took the room, or the test has failed.
                if error.code not in ("full", "closed"):
                    raise
            else:
                self.counts[channel] += 1

    def lives(self):
        """Waits until further events are stored that were published from now on."""
        before = self.publisher.counts.published
        until(lambda: self.publisher.counts.published > before + 10, "events are stored")

    def stop(self):
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        for future in self._futures:
            future.result(PATIENCE)
        self.publisher.close()

    def abandon(self):
        self._stopped.set()
        self.publisher.close(0)


class Faults(unittest.TestCase):
    maxDiff = 500

    def test_whatever_fails_every_event_is_stored_once_and_in_order(self):
        # For Redis to load.
        with admin.pipeline(transaction=False) as pipeline:
            for n in range(5000):
                pipeline.set(f"key-{n}", 1)
            pipeline.execute()
        all_ways = {}
        for way, transport in WAYS.items():
            all_ways[way] = Numbering(transport(), [f"room:{way}-{n}" for n in range(CHANNELS)])
            self.addCleanup(all_ways[way].abandon)
        for fault, who in FAULTS:
            for numbering in all_ways.values():
                numbering.lives()
            before = {way: numbering.publisher.counts.retries for way, numbering in all_ways.items()}
            fault(lambda: all(all_ways[way].publisher.counts.retries > before[way] for way in who.split()))  # noqa: B023
            for numbering in all_ways.values():
                numbering.lives()
        for numbering in all_ways.values():
            numbering.stop()
        for way, numbering in all_ways.items():
            for channel, count in numbering.counts.items():
                until(lambda: len(stored(channel)) >= count, f"{way}: {count} events of {channel}")  # noqa: B023
                self.assertEqual(stored(channel), [str(n + 1) for n in range(count)], way)
            print(f"{way}: {numbering.publisher.counts}")


class Late(unittest.TestCase):
    def test_while_redis_is_down_until_after_the_events_time_it_is_never_stored(self):
        for way, transport in WAYS.items():
            with self.subTest(way), Publisher(transport(), **OPTIONS) as publisher:
                channel = f"late:{way}"
                publisher.publish(channel, "first")
                server.kill()
                late = publisher.submit(channel, "late", until=time.time() + 0.3)
                later = publisher.submit(channel, "later", until=time.time() + PATIENCE)
                with self.assertRaises(PublishError) as raised:
                    late.result(PATIENCE)
                self.assertEqual(raised.exception.code, "expired")
                time.sleep(0.2)
                server.start()
                later.result(PATIENCE)
                until(lambda: "later" in stored(channel), "the event that is not late")  # noqa: B023
                self.assertEqual(stored(channel), ["first", "later"])
                self.assertEqual((publisher.counts.expired, publisher.counts.published), (1, 2))

    def test_while_redis_stands_still_the_outcome_may_be_unknown_and_the_intake_drops_the_event(self):
        for way, transport in WAYS.items():
            with self.subTest(way), Publisher(transport(), **OPTIONS) as publisher:
                channel = f"slow:{way}"
                publisher.publish(channel, "first")
                server.signal(signal.SIGSTOP)
                with self.assertRaises(PublishError) as raised:
                    publisher.publish(channel, "late", until=time.time() + 0.3)
                time.sleep(0.1)
                server.signal(signal.SIGCONT)
                # With FCALL, nothing is sent before Redis has answered a PING.
                self.assertEqual((raised.exception.code, raised.exception.unknown), ("expired", way != "Redis"))
                publisher.publish(channel, "later")
                until(lambda: "later" in stored(channel), "the event that is not late")  # noqa: B023
                # What the node had sent is carried out when Redis goes on.
                events = [data for data in stored(channel) if way != "HTTP" or data != "late"]
                self.assertEqual(events, ["first", "later"])

    def test_the_intake_drops_an_entry_that_no_node_publishes_before_its_time(self):
        node.stop()
        with Publisher(over_intake(client), **OPTIONS) as publisher:
            publisher.publish("night", "late", until=time.time() + 0.2)
            publisher.publish("night", "kept")
        time.sleep(0.3)
        node.start()
        until(lambda: "kept" in stored("night"), "the other entry")
        self.assertEqual(stored("night"), ["kept"])


class Answers(unittest.TestCase):
    def test_a_redis_user_without_the_right_is_told_so_at_once(self):
        admin.execute_command("ACL", "SETUSER", "reader", "on", ">password", "~*", "+@connection", "+get")
        with connect(socket_timeout=5, username="reader", password="password") as reader:
            publisher = Publisher(over_redis(reader), **OPTIONS)
            with self.assertRaises(PublishError) as raised:
                publisher.publish("room:7", 1)
            publisher.close()
        self.assertEqual((raised.exception.code, raised.exception.unknown, publisher.counts.retries), ("refused", False, 0))
        self.assertRegex(str(raised.exception), "no permissions to run the 'fcall' command")

    def test_redis_users_with_the_documented_rights_publish(self):
        # Each is followed by what the user may do, as it is documented.
        rules = re.findall(r"    ACL SETUSER (a-\S*publisher) (on .*)", (ROOT / "docs/operations.md").read_text())
        for user, over in {"a-publisher": over_intake, "a-room-publisher": over_redis}.items():
            admin.execute_command("ACL", "SETUSER", user, "reset", *dict(rules)[user].split())
            with connect(socket_timeout=5, username=user, password="password") as one:
                with Publisher(over(one), **OPTIONS) as publisher:
                    publisher.publish("room:rights", user, until=time.time() + PATIENCE)
            until(lambda: user in stored("room:rights"), user)  # noqa: B023

    def test_an_event_is_checked_as_a_node_checks_it(self):
        def verdict(event):
            request = urllib.request.Request(
                f"{node.url}/v1/publish",
                json.dumps({name.rstrip("_"): value for name, value in event.items()}).encode(),
                {"content-type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request):
                    return "published"
            except urllib.error.HTTPError as error:
                return json.load(error)["code"]

        class Anything:
            def send(self, events, timeout):
                return [Receipt(event.key, "1-0", False) for event in events]

            def close(self):
                pass

        long = "ä" * 64
        events = [
            *({"channel": text} for text in ("", "a" * 255, "a" * 256, "azAZ09-_.:@|/+=~%$!#&;", "a\n")),
            *({"channel": text} for text in ("a b", "a*", "{a}", "ä", "a,b", 'a"', "a\\", "²")),
            *({"type": text} for text in ("", "a\nb", "a\r", "a\0", long, f"{long}x", "message", "order.paid", "a b", "\u0085")),
            *({"type": text} for text in ("connected", "disconnected", "shutdown", "superseded", "gap", "overloaded")),
            *({"type": text} for text in ("expired", "excepted")),
            *({"type": text} for text in ("end", "error", "open", "Error", "opened")),
            *({"key": text} for text in ("", long, f"{long}x", "a\tb", "a\u007f", "a\u0085", "a b", "\U0001f600")),
            *({"except_": text} for text in (SESSION, f"al/ice/{SESSION}", f"{'u' * 250}/{SESSION}", SESSION.upper())),
            *(
                {"except_": text}
                for text in ("", "alice", f"/{SESSION}", f"a b/{SESSION}", f"{'u' * 251}/{SESSION}", f"{SESSION}\n")
            ),
            *({"data": text} for text in ("x" * 61440, "x" * 61441, "ä" * 30721, "", "a\0b")),
        ]
        publisher = Publisher(Anything())
        refused = 0
        for given in events:
            event = {"channel": "check", "data": "x", **given}
            ours = "published"
            try:
                publisher.publish(**event)
            except PublishError as error:
                ours = error.code
            self.assertEqual(ours, verdict(event), str(given)[:100])
            refused += ours != "published"
        publisher.close()
        self.assertGreater(refused, 20)
        self.assertLess(refused, len(events) - 8)

    def test_data_arrives_as_it_was_given(self):
        given = ["plain", '"quoted"', "ä\n\U0001f600", b"\xef\xbb\xbfbytes \xc3\xa4", {"a": [1, "ä"]}, 7, None]
        wanted = ["plain", '"quoted"', "ä\n\U0001f600", "\ufeffbytes ä", '{"a":[1,"ä"]}', "7", "null"]
        for way, transport in WAYS.items():
            with Publisher(transport(), **OPTIONS) as publisher:
                for data in given:
                    publisher.publish(f"data:{way}", data, type="note")
                until(lambda: len(stored(f"data:{way}")) == len(wanted), way)  # noqa: B023
                self.assertEqual(stored(f"data:{way}"), wanted)

    def test_the_session_that_does_not_get_the_event_is_stored_with_it(self):
        for way, transport in WAYS.items():
            with Publisher(transport(), **OPTIONS) as publisher:
                publisher.publish(f"except:{way}", 1, except_=f"alice/{SESSION}")
                until(lambda: stored(f"except:{way}") == ["1"], way)  # noqa: B023
            [(_, fields)] = admin.xrange(f"fanfare:{{except:{way}}}:log")
            self.assertEqual(fields["x"], f"alice/{SESSION}")

    def test_an_event_for_several_channels_is_stored_once_in_each(self):
        for way, transport in WAYS.items():
            channels = [f"each:{name}:{way}" for name in "ab"]
            with Publisher(transport(), **OPTIONS) as publisher:
                [first, _] = publisher.publish_each(channels, "x")
                self.assertEqual([one.key for one in publisher.publish_each(channels, "x", key=first.key)], [first.key] * 2)
                for channel in channels:
                    publisher.publish(channel, "end")
                    until(lambda: "end" in stored(channel), channel)  # noqa: B023
                    self.assertEqual(stored(channel), ["x", "end"])

    def test_the_id_is_the_events_position(self):
        for way in ("HTTP", "Redis"):
            with Publisher(WAYS[way](), **OPTIONS) as publisher:
                receipt = publisher.publish("places", 1, key=way)
                self.assertTrue(re.fullmatch(r"\d+-\d+", receipt.id))
                self.assertEqual(publisher.publish("places", 1, key=way), (way, receipt.id, True))
                self.assertEqual(admin.get("fanfare:{places}:last"), receipt.id)


if __name__ == "__main__":
    unittest.main()
