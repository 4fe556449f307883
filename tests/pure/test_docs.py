"""What the pages say is so: fields and their defaults, metrics, commands and their options, files and sections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from registry import documents
from registry.cli.main import cli
from registry.config import Config
from registry.reload import FIELDS, LIVE

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").glob("*.md")])
CODE = "".join(path.read_text() for path in (ROOT / "registry").rglob("*.py"))
DEFAULTS: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(Config())) | {"peers": []}
"""The default of each field; of ``peers`` in its short form."""

EXAMPLES = {"clusters", "kubeconfigFolder", "remoteSecrets", "snapshot.file"}
"""What the README's configuration has other values of than the defaults, as the README says."""

Walk = Iterator[tuple[str, Any]]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path) -> list[str]:
    """The page's code blocks that are no lists' continuation."""
    return re.findall(r"^```\w*\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def default(field: str) -> Any:
    found: Any = DEFAULTS
    for key in field.split("."):
        assert key in found, f"there is no {field}"
        found = found[key]
    return found


def leaves(value: Any, at: str = "") -> Walk:
    if isinstance(value, dict) and value and at not in EXAMPLES:
        for key, each in value.items():
            yield from leaves(each, f"{at}.{key}" if at else str(key))
    else:
        yield at, value


def test_configuration_of_the_readme_has_every_default() -> None:
    text = next(each for each in blocks(ROOT / "README.md") if each.startswith("clusters:\n"))
    (document,) = documents.parse(text.encode())
    msgspec.convert(document.value, Config)
    for field, value in leaves(document.value):
        if field not in EXAMPLES:
            expected = default(field)
            assert value == expected or sorted(value) == sorted(expected), field


def test_tables_of_fields_name_their_defaults() -> None:
    rows = [
        (page.name, *row)
        for page in PAGES
        for row in re.findall(
            r"^\| `([a-zA-Z]+(?:\.[a-zA-Z]+)+)` \| (\d+|true|false) \|", page.read_text(), re.MULTILINE
        )
    ]
    assert len(rows) >= 7
    for page, field, said in rows:
        assert default(field) == msgspec.json.decode(said), f"{page}: {field}"


def test_page_of_reloads_has_every_key() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (live|with a restart)", text, re.MULTILINE)
    (others,) = re.findall(r"^\| all others \((.*)\) \| with a restart \|$", text, re.MULTILINE)
    assert {key for key, effect in rows if effect == "live"} == LIVE
    assert set(re.findall(r"\w+", others)) == set(FIELDS) - LIVE


@pages
def test_metrics_are_exposed(page: Path) -> None:
    for name in set(re.findall(r"\bmesh_registry_([a-z_]+[a-z])\b", page.read_text())):
        exposed = (f"{{PREFIX}}_{name}", f"{{PREFIX}}_{name.removesuffix('_total')}")
        assert any(f'"{each}"' in CODE for each in exposed), f"mesh_registry_{name}"


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words behind ``mesh-registry``, of blocks and of the text."""
    text = page.read_text()
    found = [line for block in blocks(page) for line in block.replace("\\\n", " ").splitlines()]
    for line in [*found, *re.findall(r"`(mesh-registry [^`]*)`", text)]:
        started = re.search(r"(?:^|[$|;`] |-- )mesh-registry ([a-z].*)", line.partition(" # ")[0])
        if started:
            yield re.split(r" [|>&]", started[1])[0].split()


@pages
def test_commands_and_their_options_are_there(page: Path) -> None:
    context = click.Context(cli)
    for line in command_lines(page):
        words = line
        command: click.Command | None = cli
        while isinstance(command, click.Group) and words and words[0][0].isalpha():
            found = command.get_command(context, words[0])
            if found is None:
                break
            command, words = found, words[1:]
        assert command is not cli, " ".join(line)
        assert command is not None
        known = {option for each in command.params for option in each.opts} | {"--help"}
        assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known, " ".join(line)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pages
def test_files_named_are_there(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return
    for name in re.findall(r"`((?:registry|tests|docs|deploy|benchmarks|protos)/[\w./-]+\.\w+)`", page.read_text()):
        assert (ROOT / name).exists(), name


def test_decisions_are_numbered_one_after_another() -> None:
    found = sorted((ROOT / "docs" / "design" / "decisions").glob("*.md"))
    assert [path.name[:5] for path in found] == [f"{number:04}-" for number in range(1, len(found) + 1)]
    assert all(path.read_text().startswith(f"# {path.name[:4]}: ") for path in found)
