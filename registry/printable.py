"""Texts that others wrote, for a terminal or a log: names, annotations and messages of clusters and clients."""

from __future__ import annotations


def harmless(text: str) -> str:
    """The text, in which all that is no plain character is its escape (``\\x1b``, ``\\n``, ``\\u202e``).

    A terminal acts upon control characters, some change the order in which others are read, and a line feed begins a
    line that looks like one of ours.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


MAX_MESSAGE = 600


def shortened(text: str, most: int = MAX_MESSAGE) -> str:
    """The text, without its middle where it is longer: what it quotes may be, and its end has the mend."""
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3]} ... {text[-most // 3 :]}"
