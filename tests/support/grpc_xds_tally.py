"""A program: makes as many calls to /echo.Echo/Say as each line of its input says, and tallies the answers.

A line may name a channel after the number, which is opened for its first call and stays; else it is channel 0.

gRPC's own xDS client, which reads GRPC_XDS_BOOTSTRAP when it is loaded, so it has to be a process of its own. Each line
of output is a JSON object: answer -> how often, and "error: ..." -> how often. It ends with its input.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, deque
from contextlib import ExitStack

import grpc

CALL_SECONDS = 10.0
AT_ONCE = 20


def main(target: str) -> None:
    with ExitStack() as stack:
        channels: dict[str, grpc.Channel] = {}
        for line in sys.stdin:
            count, name = f"{line.strip()} 0".split()[:2]
            if name not in channels:
                # Options that differ keep channels from sharing anything.
                channels[name] = stack.enter_context(grpc.insecure_channel(target, [("test.channel", name)]))
            say = channels[name].unary_unary("/echo.Echo/Say")
            tally: Counter[str] = Counter()
            waiting: deque[grpc.Future[bytes]] = deque()
            for _ in range(int(count)):
                waiting.append(say.future(b"", timeout=CALL_SECONDS, wait_for_ready=True))
                if len(waiting) == AT_ONCE:
                    tally[answer(waiting.popleft())] += 1
            tally.update(map(answer, waiting))
            print(json.dumps(tally), flush=True)


def answer(call: grpc.Future[bytes]) -> str:
    try:
        return call.result().decode()
    except grpc.RpcError as error:
        return f"error: {error.code().name} {error.details()}"


if __name__ == "__main__":
    main(sys.argv[1])
