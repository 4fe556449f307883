"""What others wrote does nothing to a terminal or a log, and is still told."""

from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import registry.cli
from registry.cli.explain import explained
from registry.cli.get import service_table
from registry.cli.output import JSON, YAML, print_document, print_json_line, print_yaml_documents, say, table
from registry.printable import harmless
from registry.telemetry import start_logging

EVIL = [
    "\x1b[2J\x1b[1;1H",
    "\x1b]0;title\x07",
    "\x9b31m",
    "a\nshop/echo  all is well",
    "a\rb",
    "\u202egnirts",
    "\ud800",
]
anything = st.text(st.characters(exclude_categories=()))
documents = st.dictionaries(anything, st.one_of(anything, st.integers(), st.lists(anything)), max_size=4)


def printed(say_it: Callable[[], None]) -> str:
    """What a command that does this prints."""
    command = click.command()(say_it)
    return CliRunner().invoke(command, catch_exceptions=False).stdout


def lines(text: str) -> list[str]:
    """Each is all printable, or this fails."""
    found = text.split("\n")
    assert all(map(str.isprintable, found)), text
    return found


@given(anything)
def test_what_is_harmless_is_printable_and_plain_text_is_as_it_was(text: str) -> None:
    assert harmless(text).isprintable()
    assert harmless(harmless(text)) == harmless(text)
    assert harmless("zażółć 東京 \\n") == "zażółć 東京 \\n"


@pytest.mark.parametrize("evil", EVIL)
def test_a_line_stays_one_line(evil: str) -> None:
    assert len(lines(printed(lambda: say(f"before {evil} after")))) == 2


@pytest.mark.parametrize("evil", EVIL)
def test_a_row_stays_one_row_and_columns_stay_columns(evil: str) -> None:
    rows = table(["NAME", "NOTE"], [["a", evil], [evil, "b"]])
    assert len(lines(printed(lambda: say(*rows)))) == 4
    assert len({row.rindex(each) for row, each in zip(rows, ("NOTE", harmless(evil), "b"), strict=True)}) == 1


@given(documents)
def test_documents_say_the_same_in_plain_characters(document: dict[str, object]) -> None:
    for output, read in ((JSON, json.loads), (YAML, yaml.safe_load)):
        if output == YAML and has_surrogates(document):
            continue  # YAML has none
        text = printed(lambda output=output: print_document(document, output))  # type: ignore[misc]
        lines(text)
        assert read(text) == document
    text = printed(lambda: print_json_line(document))
    assert (json.loads(text), len(lines(text))) == (document, 2)


def has_surrogates(document: object) -> bool:
    return any("\ud800" <= each <= "\udfff" for each in str(json.dumps(document, ensure_ascii=False)))


@pytest.mark.parametrize("evil", EVIL[:-1])
def test_several_yaml_documents_do_too(evil: str) -> None:
    text = printed(lambda: print_yaml_documents([{"a": evil}, {"b": "żółw"}]))
    lines(text)
    assert list(yaml.safe_load_all(text)) == [{"a": evil}, {"b": "żółw"}]


def test_text_in_any_language_is_printed_as_it_is() -> None:
    assert "żółw" in printed(lambda: print_document({"a": "żółw"}, YAML))
    assert "東京" in printed(lambda: print_document({"a": "東京"}, JSON))


@pytest.mark.parametrize("evil", EVIL)
def test_the_conflict_of_a_service_is_told_without_its_escapes(evil: str) -> None:
    service = {
        "namespace": "shop",
        "name": "echo",
        "host": "h",
        "ports": [],
        "clusters": ["a"],
        "endpoints": [],
        "unready": 0,
        "type": "ClusterSetIP",
        "conflicts": [{"message": f"annotations[x]: cluster a says {evil}"}],
        "traffic": {"distribution": "Any", "problems": [evil]},
    }
    assert len(lines(printed(lambda: say(*service_table([service], True))))) == 3


@pytest.mark.parametrize("evil", EVIL)
def test_a_log_line_stays_one_line(evil: str) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    try:
        start_logging("info", stream)
        logging.getLogger("registry.x").warning("client %s is connected", evil)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    assert len(lines(stream.getvalue())) == 2


def test_no_command_prints_past_it() -> None:
    folder = Path(next(iter(registry.cli.__path__)))
    for path in folder.glob("*.py"):
        if path.name == "output.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "click.echo", "click.secho", "sys.stdout.write"), path.name


def test_explain_is_told_without_escapes() -> None:
    evil = EVIL[0]
    document = {
        "namespace": "shop",
        "name": "echo",
        "host": "h",
        "clusters": [],
        "refusedClusters": [{"name": evil, "reason": "ClusterRefused", "message": evil}],
        "policy": {"distribution": "Any", "from": {"distribution": evil}, "problems": [evil]},
        "serviceEntry": {"unsaid": []},
        "client": None,
        "endpoints": [],
    }
    lines(printed(lambda: say(*explained(document))))
