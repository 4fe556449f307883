"""Lists in pages, as Kubernetes has them: ``?limit=N``, then ``&continue=TOKEN`` of the page before. No IO.

A token is a place in the list's order, so it does not expire: the next page has what comes after that place when it is
asked for.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

Position = tuple[str, ...] | int
Key = TypeVar("Key")
MAX_TOKEN = 2048


class PageError(ValueError):
    """The query asks for no page that there can be."""


@dataclass(frozen=True, slots=True)
class Page:
    """At most ``limit`` items (None: all) that come after a place in the list, ``after`` (None: from its start)."""

    limit: int | None = None
    after: Position | None = None

    def of(
        self, keys: Sequence[Key], position: Callable[[Key], Position]
    ) -> tuple[Sequence[Key], Mapping[str, object] | None]:
        """The keys on this page, of all in the order of their positions; and the page's ``metadata``, None for a whole
        list.

        Raises:
            PageError: the token is of another list.
        """
        try:
            start = 0 if self.after is None else bisect_right(keys, self.after, key=position)
        except TypeError as error:
            raise PageError(OTHER_LIST) from error
        if self.limit is None:
            return (keys if not start else keys[start:]), None
        found = keys[start : start + self.limit]
        left = len(keys) - start - len(found)
        if left <= 0:
            return found, {}
        return found, {"continue": _token(position(found[-1])), "remainingItemCount": left}


OTHER_LIST = "continue: this is no token of this list; take metadata.continue of the page before, or leave it out"


def page_of(query: Mapping[str, str]) -> Page:
    """The page that ``limit`` and ``continue`` of a query ask for. ``limit=0`` is no limit.

    Raises:
        PageError: they ask for none.
    """
    limit, token = query.get("limit", "0"), query.get("continue", "")
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 10):
        raise PageError(f"limit: expected a number from 0 to 999999999, got {limit[:20]!r}")
    return Page(int(limit) or None, _position(token) if token else None)


def _token(position: Position) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()


def _position(token: str) -> Position:
    try:
        if len(token) > MAX_TOKEN:
            raise PageError(OTHER_LIST)
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        position: Position = msgspec.json.decode(text, type=Position)
    except (ValueError, binascii.Error) as error:
        raise PageError(OTHER_LIST) from error
    return position
