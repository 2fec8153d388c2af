"""sseclient-py over requests: no reconnect of its own. The last id of an event, and the last `retry:`, bring the program back."""

import sys
import time

import requests
import sseclient

from line import log, show

url = sys.argv[1]
last_id = None
delay = 1.0

while True:
    try:
        headers = {"Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        # Three heartbeats (stream.heartbeat, 15s).
        with requests.get(url, stream=True, headers=headers, timeout=(5, 45)) as response:
            response.raise_for_status()
            for event in sseclient.SSEClient(response).events():
                last_id = event.id or last_id
                if event.retry is not None:
                    delay = int(event.retry) / 1000
                show(event.event, event.id, event.data)
    except requests.RequestException as error:
        log(error)
    time.sleep(delay)
