"""Clients of a soak: streams that come back with their cursor, sockets that say nothing, and a publisher."""

import asyncio
import contextlib
import json
import random


def loopback(number):
    """Each client has an address, so that no limit of one address refuses it."""
    return (f"127.1.{number // 250}.{number % 250 + 1}", 0)


class Streams:
    """Keeps streams open. Each goes on at another node when it ends."""

    def __init__(self, nodes, number, first=0):
        self.nodes, self.cursors = nodes, {}
        self.tasks = [asyncio.create_task(self.follow(first + n)) for n in range(number)]

    async def follow(self, number):
        while True:
            node = random.choice(self.nodes)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self.read(node, number)
            # As an EventSource, which gets its retry of some seconds from the node.
            await asyncio.sleep(random.uniform(0.5, 2))

    async def read(self, node, number, seconds=None):
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port, local_addr=loopback(number))
        try:
            cursor = self.cursors.get(number)
            last = f"Last-Event-ID: {cursor}\r\n" if cursor else ""
            writer.write(f"GET /v1/events?user=u{number}&channel=news HTTP/1.1\r\nHost: x\r\n{last}\r\n".encode())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while line := await reader.readline():
                        if line.startswith(b"id: "):
                            self.cursors[number] = line[4:].strip().decode()
        finally:
            writer.close()

    async def end(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class Storm(Streams):
    """Streams that their clients close and open again all the time."""

    async def follow(self, number):
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self.read(random.choice(self.nodes), number, 0.5)


class Silent(Streams):
    """Sockets on which no request comes."""

    async def follow(self, number):
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", random.choice(self.nodes).port, local_addr=loopback(number)
                )
                try:
                    await reader.read()
                finally:
                    writer.close()
            await asyncio.sleep(0.05)


class Arrivals(Streams):
    """Clients that come for some seconds, one after another, as to a page."""

    async def follow(self, number):
        while True:
            self.cursors.pop(number, None)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self.read(random.choice(self.nodes), number, 5)
            await asyncio.sleep(random.uniform(0, 2))


class Refused(Streams):
    """Asks each node for a page that there is not, now and then."""

    def __init__(self, nodes):
        super().__init__(nodes, 1)

    async def follow(self, _):
        while True:
            for node in self.nodes:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", node.port)
                    writer.write(b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    await writer.drain()
                    writer.close()
            await asyncio.sleep(1)


class Publisher(Streams):
    """Publishes ten events a second over HTTP; those that a node refuses, or cannot take, are left."""

    def __init__(self, nodes):
        super().__init__(nodes, 1)

    async def follow(self, _):
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self.publish(random.choice(self.nodes))
            await asyncio.sleep(0.1)

    async def publish(self, node):
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            try:
                body = json.dumps({"channel": "news", "type": "note", "data": "x" * 100})
                head = f"POST /v1/publish HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write((head + body).encode())
                await reader.read()
            finally:
                writer.close()
