# What the types say, with a client of Redis: for mypy, nothing runs it.

import redis

from fanfare_client import AsyncPublisher, Publisher, Receipt, Transport, over_http, over_intake, over_redis

client = redis.Redis()
transports: list[Transport] = [over_http("http://127.0.0.1/v1/publish"), over_redis(client), over_intake(client)]
publisher = Publisher(transports[0], ordered=False)
receipt: Receipt = publisher.publish("a", {"b": 1}, until=1.0)
position: str = receipt.id
done: Receipt = publisher.submit("a", 1).result()


async def main() -> None:
    async with AsyncPublisher(publisher) as publishing:
        awaited: Receipt = await publishing.publish("a", 1, type="note", key="k")
        repeat: bool = awaited.repeat
        print(repeat)
        await publishing.publish("a", 1, until="tomorrow")  # type: ignore[arg-type]
