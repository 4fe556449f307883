"""A program: calls /echo.Echo/Say on the target given, without a pause, with gRPC's own xDS client.

The client reads GRPC_XDS_BOOTSTRAP when it is loaded, so it has to be a process of its own. Each line of output is one
call as JSON: {"name": who answered} or {"error": what failed}. It goes on until its standard input is closed.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import grpc

CALL_SECONDS = 10.0
PAUSE_SECONDS = 0.005


def main(target: str) -> None:
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    with grpc.insecure_channel(target) as channel:
        say = channel.unary_unary("/echo.Echo/Say")
        line: dict[str, str] = {}
        while not stop.is_set():
            try:
                # Only the first call waits until there is a list; from then on a call that finds nobody fails.
                line = {"name": say(b"", timeout=CALL_SECONDS, wait_for_ready=not line).decode()}
            except grpc.RpcError as error:
                line = {"error": f"{error.code().name} {error.details()}"}
            print(json.dumps(line), flush=True)
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1])
