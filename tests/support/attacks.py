"""What strangers do, each as a function. Run as a program: WHERE ATTACKS, both as JSON.

``WHERE`` are the fields of ``Where``, ``ATTACKS`` the arguments of each function by its name. All attack at once.
It prints what each did, by name, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping

from support import attacks_grpc, attacks_http, attacks_member
from support.attackers import Report, Where

Attack = Callable[..., Awaitable[Report]]
ATTACKS: Mapping[str, Attack] = {**attacks_grpc.ATTACKS, **attacks_http.ATTACKS, **attacks_member.ATTACKS}


def main(where: str, attacks: str) -> None:
    print(json.dumps(asyncio.run(_run(Where(**json.loads(where)), json.loads(attacks)))), flush=True)


async def _run(where: Where, attacks: Mapping[str, Mapping[str, object]]) -> Mapping[str, Report]:
    reports = await asyncio.gather(*(ATTACKS[name](where, **arguments) for name, arguments in attacks.items()))
    return dict(zip(attacks, reports, strict=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
