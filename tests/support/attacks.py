"""What strangers do, each as a function. Run as a program: NAME WHERE ARGUMENTS, the last two as JSON.

``WHERE`` are the fields of ``Where``; the arguments are those of the function. It prints what the attack did, as JSON.
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


def main(name: str, where: str, arguments: str) -> None:
    print(json.dumps(asyncio.run(_run(ATTACKS[name], Where(**json.loads(where)), json.loads(arguments)))), flush=True)


async def _run(attack: Attack, where: Where, arguments: Mapping[str, object]) -> Report:
    return await attack(where, **arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
