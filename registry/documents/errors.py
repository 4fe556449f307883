"""What is wrong with a text, and where."""

from __future__ import annotations

from dataclasses import dataclass


class DocumentError(Exception):
    """Text that is no document. ``line`` and ``column`` count from 1."""

    def __init__(self, message: str, line: int, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a value cannot be used although the text around it can be read. ``line`` counts from 1."""

    message: str
    line: int
