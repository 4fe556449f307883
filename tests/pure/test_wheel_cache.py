"""A compiled wheel is taken out of the cache only where all that it was made of is the same."""

from __future__ import annotations

from pathlib import Path

from tools import build, wheel

ROOT = Path(__file__).parents[2]


def test_every_compiled_module_and_all_that_it_may_import_count() -> None:
    counted = set(wheel.sources())
    assert counted >= {path for path in (ROOT / "registry").rglob("*.py*") if "__pycache__" not in path.parts}
    assert counted >= {ROOT / "setup.py", ROOT / "pyproject.toml", ROOT / "constraints.txt"}
    assert not [path for path in counted if "__pycache__" in path.parts or path.suffix == ".so"]


def test_another_text_compiler_or_flag_is_another_place(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("x = 1\n")
    first = build.cache_of("gcc 12", [source], "wheels")
    assert build.cache_of("gcc 12", [source], "wheels") == first
    assert build.cache_of("gcc 13", [source], "wheels") != first
    source.write_text("x = 2\n")
    assert build.cache_of("gcc 12", [source], "wheels") != first
