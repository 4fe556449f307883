"""One registry for all the sieges of a session."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from support.strangers import Stronghold

SERVICES = 2000


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stronghold(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stronghold]:
    """A registry of 2,000 services that has met strangers before, its member and its honest client."""
    it = Stronghold(tmp_path_factory.mktemp("stronghold"), SERVICES)
    try:
        await it.start()
        it.first = await it.meet_strangers()
        yield it
    finally:
        it.stop()
