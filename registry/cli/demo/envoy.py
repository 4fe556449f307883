"""What the demo asks Envoy: which hosts it has, and who answers through it."""

from __future__ import annotations

import asyncio
from collections import Counter

import aiohttp

from registry.errors import StartError

POLL_SECONDS = 0.002


class Envoy:
    """A running Envoy: its admin interface and its outbound listener, both HOST:PORT."""

    def __init__(self, session: aiohttp.ClientSession, admin: str, listener: str) -> None:
        self._session = session
        self._admin = admin
        self._listener = listener

    async def hosts(self, cluster: str) -> frozenset[str]:
        """The addresses Envoy would send a request for ``cluster`` to. Empty when it is unknown or Envoy is not up."""
        try:
            async with self._session.get(f"http://{self._admin}/clusters?format=json") as response:
                document = await response.json(content_type=None)
        except (aiohttp.ClientError, OSError):
            return frozenset()
        return frozenset(
            host["address"]["socket_address"]["address"]
            for status in document.get("cluster_statuses", ())
            if status["name"] == cluster
            for host in status.get("host_statuses", ())
            if host["health_status"].get("eds_health_status") == "HEALTHY"
        )

    async def until_hosts(self, cluster: str, wanted: frozenset[str], timeout: float) -> None:
        """Return as soon as Envoy has exactly the ``wanted`` addresses.

        Raises:
            StartError: it has not after ``timeout`` seconds; the text says what it has.
        """
        held: frozenset[str] = frozenset()
        try:
            async with asyncio.timeout(timeout):
                while (held := await self.hosts(cluster)) != wanted:
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise StartError(
                f"after {timeout:.0f} s Envoy has {sorted(held)} for {cluster}, not {sorted(wanted)}"
            ) from None

    async def answers(self, host: str, count: int) -> Counter[str]:
        """Send ``count`` requests for ``host`` through Envoy, one after another; who answered how often.

        An answer other than 200 is counted under its status.
        """
        tally: Counter[str] = Counter()
        for _ in range(count):
            async with self._session.get(f"http://{self._listener}/", headers={"Host": host}) as response:
                text = (await response.text()).strip()
                tally[text if response.status == 200 else f"HTTP {response.status}"] += 1
        return tally
