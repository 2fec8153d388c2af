"""aiohttp-sse-client2: comes back by itself after a clean end. What breaks raises, and the program starts it again."""

import asyncio
import sys
from datetime import timedelta

import aiohttp
from aiohttp_sse_client2 import client as sse_client

from line import log, show

url = sys.argv[1]


async def main():
    last_id = ""
    # aiohttp ends every response after five minutes by default.
    timeout = aiohttp.ClientTimeout(total=None, sock_read=45)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while True:
            headers = {"Last-Event-ID": last_id} if last_id else {}
            try:
                # Its own is 5 s, doubled before each attempt.
                again = timedelta(seconds=1)
                async with sse_client.EventSource(url, reconnection_time=again, session=session, headers=headers) as events:
                    async for event in events:
                        last_id = event.last_event_id
                        show(event.type, event.last_event_id, event.data)
            except (ConnectionError, aiohttp.ClientError) as error:
                log(error)
            await asyncio.sleep(1)


asyncio.run(main())
