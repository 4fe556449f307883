"""An exec credential plugin: a program that prints a credential. It gets a time limit, and it is gone afterwards.

Source: Kubernetes, "client-go credential plugins" (client.authentication.k8s.io/v1 and v1beta1).
kubernetes-asyncio can run one too, but lets go of the program when the time is up, gives it our standard input, and
stops for ever when it fills the pipe that is not being read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import msgspec

from registry.sources.kubernetes.fields import ExecConfig

EXEC_SECONDS = 30.0
"""How long a plugin or an identity provider may take for a token, unless configured."""

MAX_OUTPUT_BYTES = 1 << 20
"""Of what it prints. It may contain secrets, so none of it is shown, nor of what it says on standard error."""


class PluginError(Exception):
    """It gave no credential. The text says why."""


class PluginCredential(msgspec.Struct, rename="camel"):
    """The ``status`` of what it printed.

    ``expiration_timestamp`` is RFC 3339; null, as Go writes no time, or empty: good until it is rejected.
    """

    token: str | None = None
    expiration_timestamp: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None


class _Printed(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    status: PluginCredential


async def run_plugin(config: ExecConfig, cluster: Mapping[str, Any], folder: str, seconds: float) -> PluginCredential:
    """Run it, for at most ``seconds``. However this ends, the program and what it started in its session are gone.

    ``cluster`` is what it gets to know of the cluster if it asks for that; ``folder`` is where a relative command is.

    Raises:
        PluginError: it gave no credential in time.
    """
    spec: dict[str, Any] = {"interactive": False}
    if config.provide_cluster_info:
        spec["cluster"] = dict(cluster)
    info = json.dumps({"apiVersion": config.api_version, "kind": "ExecCredential", "spec": spec})
    environment = {
        **os.environ,
        **{each.name: each.value or "" for each in config.env or ()},
        "KUBERNETES_EXEC_INFO": info,
    }
    command = config.command or ""
    if "/" in command:
        command = str(Path(folder, command))
    with tempfile.TemporaryFile() as output:
        code = await _run([command, *(config.args or ())], environment, output, config, seconds)
        if code != 0:
            raise PluginError(f"exec: {config.command} ended with {code}; run it by hand to see what it says")
        return _credential(_content(output, MAX_OUTPUT_BYTES + 1), config)


async def _run(
    command: list[str],
    environment: Mapping[str, str],
    output: IO[bytes],
    config: ExecConfig,
    seconds: float,
) -> int:
    """Its exit code. It writes to a file, not to a pipe: what it leaves running in the background cannot hold us up."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        hint = f"; {' '.join(config.install_hint.split())}" if config.install_hint else ""
        raise PluginError(f"exec: {config.command}: {error.strerror}{hint}") from error
    with contextlib.suppress(ProcessLookupError, PermissionError):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2 * MAX_OUTPUT_BYTES, 2 * MAX_OUTPUT_BYTES))
    try:
        async with asyncio.timeout(seconds):
            return await process.wait()
    except TimeoutError:
        raise PluginError(f"exec: {config.command} gave no credential within {seconds:g} s and was killed") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _content(file: IO[bytes], most: int) -> bytes:
    file.seek(0)
    return file.read(most)


def _credential(printed: bytes, config: ExecConfig) -> PluginCredential:
    if len(printed) > MAX_OUTPUT_BYTES:
        raise PluginError(f"exec: {config.command} printed more than {MAX_OUTPUT_BYTES} bytes")
    try:
        answer = msgspec.json.decode(printed, type=_Printed)
    except (ValueError, RecursionError) as error:
        raise PluginError(f"exec: {config.command} printed no ExecCredential") from error
    if (answer.kind, answer.api_version) != ("ExecCredential", config.api_version):
        raise PluginError(
            f"exec: {config.command} printed something that is not ExecCredential of {config.api_version}"
        )
    status = answer.status
    if bool(status.client_certificate_data) != bool(status.client_key_data):
        raise PluginError(f"exec: {config.command} printed a certificate without its key, or a key without one")
    if not status.token and not status.client_key_data:
        raise PluginError(f"exec: {config.command} printed neither a token nor a certificate with its key")
    try:
        datetime.fromisoformat(status.expiration_timestamp or "9999-12-31")
    except ValueError as error:
        raise PluginError(f"exec: {config.command} printed no RFC 3339 time as expirationTimestamp") from error
    return status
