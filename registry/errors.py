"""The error tree, on one page.

RegistryError                 anything this program says is wrong; the text is for the user
+-- ConfigError               wrong configuration or usage; exit code 2
+-- StartError                a part could not start (a port in use, a missing program); exit code 1
+-- ServerUnavailableError         a command could not reach a running registry; exit code 1
"""

from __future__ import annotations


class RegistryError(Exception):
    """Base of every error this program raises on purpose. ``str(error)`` names the place and the mend."""

    exit_code = 1


class ConfigError(RegistryError):
    """Wrong configuration or usage: file, line, what was expected."""

    exit_code = 2


class StartError(RegistryError):
    """A part of the program could not start."""


class ServerUnavailableError(RegistryError):
    """A command could not reach a running registry, or lost it."""
