"""aiohttp asks for gzip by itself, and decodes."""

import asyncio
import sys

import aiohttp


async def main():
    timeout = aiohttp.ClientTimeout(total=None, sock_read=45)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(sys.argv[1]) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        async for line in response.content:
            print(line.decode(), end="", flush=True)


asyncio.run(main())
