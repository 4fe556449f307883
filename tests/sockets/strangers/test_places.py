"""Files that name members and would cost gigabytes or minutes to read: nobody else notices."""

from __future__ import annotations

import aiohttp
from support.processes import until
from support.strangers import Siege, Stronghold, besieged

TEXT = "x" * 100_000
BOMBS = {
    "line 2: aliases": f"a: &a '{TEXT}'\nb: [{', '.join(['*a'] * 300_000)}]\n",
    "line 29: aliases": f"a: &a {{{', '.join(f'k{n}: 1' for n in range(9_000))}}}\n"
    + "".join(f"b{n}: {{<<: *a}}\n" for n in range(90_000)),
    "name": f"current-context: &t '{TEXT}'\ncontexts: [{{name: *t, context: {{cluster: *t, user: *t"
    + "".join(f", n{n}: 1" for n in range(9_000))
    + "}}]\nclusters: [{name: *t, cluster: {server: 'http://x'}}]\nusers: [{name: *t, user: {}}]\n",
    "JSON texts": "{}" * 900_000,
    "documents": "{}\n---\n" * 250_000,
    "values": "".join(f"k{n}: 1\n" for n in range(150_000)),
    "nested": "[" * 1_900_000,
    "current-context": f"a: {'x y ' * 490_000}\n",
}
"""By words of the error that each comes to."""


async def test_kubeconfigs_that_are_bombs_disturb_nobody(stronghold: Stronghold) -> None:
    path = stronghold.members / "wild"
    async with besieged(stronghold) as siege:
        for word, text in BOMBS.items():
            path.write_text(text)
            await until(lambda word=word: _refused(siege, word), f"{word}: it is refused", timeout=20)
        path.unlink()
        await until(lambda: _is_gone(siege), "the member is gone")
    siege.assert_unharmed()


async def _refused(siege: Siege, word: str) -> bool:
    found = await _wild(siege)
    return "KubeconfigInvalid" in found and word in found


async def _is_gone(siege: Siege) -> bool:
    return not await _wild(siege)


async def _wild(siege: Siege) -> str:
    """What is said of the member."""
    async with aiohttp.request("GET", f"http://{siege.registry.http}/api/v1/clusters") as response:
        document = await response.json()
    return "".join(str(each) for each in document["clusters"] if each["name"] == "wild")
