"""Golden files: the expected output beside the test, rewritten on demand.

``REGISTRY_UPDATE_GOLDEN=1`` writes what came out instead of comparing; look at the difference before committing it.
"""

from __future__ import annotations

import os
from pathlib import Path

UPDATE = os.environ.get("REGISTRY_UPDATE_GOLDEN") == "1"
FOLDER = Path(__file__).parents[1] / "pure" / "golden"


def check(name: str, text: str) -> None:
    """``text`` is what the golden file ``name`` says."""
    path = FOLDER / name
    if UPDATE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"no golden file {path.name}: make it with REGISTRY_UPDATE_GOLDEN=1, and look at it"
    assert text == path.read_text(), f"{path.name} says otherwise"


def stale(expected: set[str]) -> set[str]:
    """Golden files that no test asks for; removed when updating."""
    found = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()} - expected
    if UPDATE:
        for name in found:
            (FOLDER / name).unlink()
        return set()
    return found
