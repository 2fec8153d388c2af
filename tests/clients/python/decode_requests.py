"""requests asks for gzip by itself, and decodes."""

import sys

import requests

with requests.get(sys.argv[1], stream=True, timeout=(5, 45)) as response:
    assert response.headers["Content-Encoding"] == "gzip"
    for line in response.iter_lines():
        print(line.decode(), flush=True)
