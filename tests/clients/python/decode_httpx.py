"""httpx asks for gzip by itself, and decodes."""

import sys

import httpx

with httpx.stream("GET", sys.argv[1], timeout=httpx.Timeout(5, read=45)) as response:
    assert response.headers["Content-Encoding"] == "gzip"
    for line in response.iter_lines():
        print(line, flush=True)
