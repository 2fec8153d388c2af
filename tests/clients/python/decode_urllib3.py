"""urllib3 decodes what the program asks for."""

import sys

import urllib3

response = urllib3.request("GET", sys.argv[1], headers={"Accept-Encoding": "gzip"}, preload_content=False)
assert response.headers["Content-Encoding"] == "gzip"
for part in response.stream(decode_content=True):
    sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()
