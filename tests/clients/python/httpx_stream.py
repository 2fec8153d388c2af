"""httpx-sse: no reconnect of its own. The loop is its README's, which takes the id of each event as the last one."""

import sys
import time

import httpx
from httpx_sse import connect_sse

from line import log, show

url = sys.argv[1]
last_event_id = ""
reconnection_delay = 1.0

# Three heartbeats (stream.heartbeat, 15s); the default of httpx is 5 s.
with httpx.Client(timeout=httpx.Timeout(5, read=45)) as client:
    while True:
        try:
            headers = {"Accept": "text/event-stream"}
            if last_event_id:
                headers["Last-Event-ID"] = last_event_id
            with connect_sse(client, "GET", url, headers=headers) as event_source:
                for sse in event_source.iter_sse():
                    last_event_id = sse.id
                    if sse.retry is not None:
                        reconnection_delay = sse.retry / 1000
                    show(sse.event, sse.id, sse.data)
        # A broken stream is httpx.ReadError or httpx.RemoteProtocolError; a clean end is none.
        except httpx.TransportError as error:
            log(error)
        time.sleep(reconnection_delay)
