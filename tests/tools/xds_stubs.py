"""Type stubs for the protobuf modules of xds-protos, which ships none.

Runs the protoc plugin of mypy-protobuf on the descriptors of the modules this project imports (and of all they import),
so that `make check` can check every message field we touch.

    python tests/tools/xds_stubs.py OUTPUT_FOLDER
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor import FileDescriptor

SOURCES = Path(__file__).parents[2] / "registry"
PREFIXES = ("envoy", "xds", "udpa", "validate", "google.rpc", "opencensus", "cel")


def imported_modules() -> set[str]:
    """The ``..._pb2`` modules of xds-protos that the package imports."""
    found: set[str] = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {f"{node.module}.{alias.name}" for alias in node.names if alias.name.endswith("_pb2")}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names if alias.name.endswith("_pb2")}
    return {name for name in found if name.startswith(tuple(f"{prefix}." for prefix in PREFIXES))}


def closure(files: list[FileDescriptor]) -> dict[str, FileDescriptor]:
    """The files and everything they import, dependencies first."""
    ordered: dict[str, FileDescriptor] = {}

    def visit(file: FileDescriptor) -> None:
        if file.name in ordered:
            return
        for dependency in file.dependencies:
            visit(dependency)
        ordered[file.name] = file

    for file in files:
        visit(file)
    return ordered


def main(output: Path) -> None:
    modules = sorted(imported_modules())
    stamp = output / "modules.txt"
    wanted = "\n".join(modules)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    output.mkdir(parents=True, exist_ok=True)
    files = closure([importlib.import_module(name).DESCRIPTOR for name in modules])
    request = plugin_pb2.CodeGeneratorRequest(parameter="quiet")
    for name, file in files.items():
        request.proto_file.append(descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb))
        if not name.startswith("google/protobuf/"):
            request.file_to_generate.append(name)
    plugin = Path(sys.executable).with_name("protoc-gen-mypy")
    done = subprocess.run([plugin], input=request.SerializeToString(), stdout=subprocess.PIPE, check=True)
    response = plugin_pb2.CodeGeneratorResponse.FromString(done.stdout)
    if response.error:
        sys.exit(f"mypy-protobuf: {response.error}")
    for stub in response.file:
        path = output / stub.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(stub.content)
        for folder in path.relative_to(output).parents:
            if folder.parts:
                (output / folder / "__init__.pyi").touch()
    stamp.write_text(wanted)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
