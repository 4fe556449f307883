"""Pure modules do no IO and know no clock; no module does work when it is imported."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "registry"
PURE = (
    "model",
    "index",
    "membership/identity.py",
    "membership/reconcile.py",
    "membership/roster.py",
    "membership/spec.py",
    "membership/standby.py",
    "membership/succession.py",
    "views",
    "xds",
    "admission.py",
    "claims.py",
    "coalesce.py",
    "fairness.py",
    "http_limits.py",
    "documents",
    "networks.py",
    "printable.py",
    "startup.py",
    "whereabouts.py",
    "liveness/conditions.py",
    "liveness/damping.py",
    "liveness/plan.py",
    "liveness/sample.py",
    "liveness/table.py",
    "liveness/tally.py",
    "servers/paging.py",
    "servers/rendering.py",
    "rpc/connection.py",
    "rpc/frames.py",
    "rpc/headers.py",
    "rpc/ledger.py",
    "rpc/limits.py",
    "rpc/listener.py",
    "rpc/messages.py",
    "rpc/outbox.py",
    "rpc/seam.py",
    "rpc/shared.py",
    "rpc/streams.py",
    "rpc/vigil.py",
    "snapshot/format.py",
    "snapshot/knowledge.py",
    "snapshot/pace.py",
    "snapshot/rows.py",
    "sources/kubernetes/framing.py",
    "sources/kubernetes/decode.py",
    "sources/kubernetes/sharing.py",
    "sources/kubernetes/structs.py",
    "sources/kubernetes/conditions.py",
    "sources/kubernetes/kubeconfig.py",
    "sources/kubernetes/fields.py",
    "sources/kubernetes/urls.py",
    "sources/kubernetes/users.py",
    "sources/kubernetes/listwatch.py",
    "sources/kubernetes/steps.py",
    "sources/kubernetes/telling.py",
    "sources/kubernetes/lists.py",
    "sources/kubernetes/absence.py",
    "sources/kubernetes/unreadable.py",
    "sources/kubernetes/resources.py",
    "sources/kubernetes/backoff.py",
    "sources/kubernetes/versions.py",
    "sources/kubernetes/watches.py",
    "sources/kubernetes/audit.py",
    "sources/manifests/files.py",
    "sources/manifests/objects.py",
    "sources/manifests/folder.py",
    "writers/contests.py",
    "writers/held.py",
    "writers/kept.py",
    "writers/plan.py",
    "writers/refusals.py",
    "writers/told.py",
    "writers/unknown.py",
)
IMPURE = frozenset(
    {
        "asyncio",
        "threading",
        "time",
        "datetime",
        "random",
        "secrets",
        "uuid",
        "socket",
        "ssl",
        "os",
        "subprocess",
        "pathlib",
        "tempfile",
        "signal",
        "grpc",
        "aiohttp",
        "uvloop",
        "python_socks",
        "watchfiles",
        "click",
        "rich",
        "prometheus_client",
    }
)
AT_IMPORT = frozenset({"open", "print", "input", "exec", "eval"})


def modules(where: str) -> Iterator[Path]:
    path = PACKAGE / where
    assert path.exists(), f"{where} is named as pure and does not exist"
    yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def imported(tree: ast.Module) -> Iterator[str]:
    """The top-level names of everything the module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("where", PURE)
def test_pure_module_imports_nothing_that_does_io_or_tells_the_time(where: str) -> None:
    for path in modules(where):
        found = IMPURE.intersection(imported(ast.parse(path.read_text())))
        assert not found, f"{path.relative_to(PACKAGE)} imports {sorted(found)}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_importing_a_module_does_no_work(path: Path) -> None:
    """At module level there are definitions, constants and calls that build values; nothing is read, written or run."""
    for statement in ast.parse(path.read_text()).body:
        assert not isinstance(statement, ast.For | ast.While | ast.With | ast.Try) or path.name.endswith("_pb2.py"), (
            f"line {statement.lineno}: a {type(statement).__name__} at module level"
        )
        for node in ast.walk(statement):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
                break
            if isinstance(node, ast.Call):
                assert _called(node) not in AT_IMPORT, f"line {node.lineno}: {_called(node)}() at module level"
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"environ", "getenv", "read_text", "read_bytes"}, f"line {node.lineno}: reads"


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def test_no_two_test_modules_have_one_name() -> None:
    """pytest imports them by name alone, and would stop at the second; who runs one folder would not see it."""
    names = Counter(path.name for path in Path(__file__).parents[1].rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
