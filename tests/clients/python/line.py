"""One line of JSON for each message that the library hands over."""

import json
import sys


def show(kind, id, data):
    print(json.dumps({"type": kind, "id": id, "data": data}), flush=True)


def log(error):
    print(f"reconnecting after: {error!r}", file=sys.stderr, flush=True)
