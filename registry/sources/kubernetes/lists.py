"""How a kind is listed on the present server: where, and by a stream or in pages."""

from __future__ import annotations

from collections.abc import Callable

from registry.sources.kubernetes.bounds import EMPTY_PAGES
from registry.sources.kubernetes.resources import Resource
from registry.sources.kubernetes.steps import GetPage, OpenWatch, page_step, stream_step


class EndlessError(ValueError):
    """The pages of a list do not come to an end. The text says why."""


class Lists:
    """``streams``: whether streaming lists are tried at all. ``streaming``: one has begun and is not complete.

    ``in_pieces``: pages are too large to be read in one go.
    """

    def __init__(self, resource: Resource, random: Callable[[], float], page_size: int, *, streams: bool) -> None:
        self._paths = resource.paths
        self._random = random
        self._page_size = page_size
        self._may_stream = streams
        self._streams = streams
        self._broken = False
        self._at = 0
        self._token = ""
        self._empty = 0
        self.streaming = False
        self.in_pieces = False

    @property
    def path(self) -> str:
        """Where the kind is, as far as is known."""
        return self._paths[self._at]

    def first(self) -> GetPage | OpenWatch:
        """The list from its beginning, on the best path."""
        self._at = 0
        return self.again()

    def again(self) -> GetPage | OpenWatch:
        """The list from its beginning, on the path that was found."""
        self._token, self._empty = "", 0
        self.streaming = self._streams and not self._broken
        return stream_step(self.path, self._random()) if self.streaming else self._page()

    def elsewhere(self) -> GetPage | OpenWatch | None:
        """The list from its beginning on the next path; None after the last."""
        if self._at + 1 == len(self._paths):
            return None
        self._at += 1
        return self.again()

    def page(self, token: str, objects: int) -> GetPage:
        """The page that ``token`` continues with; there were so many ``objects`` on the one before.

        Raises:
            EndlessError: the pages lead nowhere.
        """
        self._empty = 0 if objects else self._empty + 1
        if token == self._token:
            raise EndlessError("two pages in a row have the same continue token")
        if self._empty >= EMPTY_PAGES:
            raise EndlessError(f"{self._empty} pages in a row have no object, and say that there are more")
        self._token = token
        return self._page(token)

    def _page(self, token: str = "") -> GetPage:
        return page_step(self.path, self._page_size, token, in_pieces=self.in_pieces)

    def complete(self) -> None:
        self.streaming = self._broken = False

    def stopped(self) -> None:
        """Something else is asked for."""
        self.streaming = False

    def broke(self) -> None:
        """What was being done broke off. If that was a streaming list, the next is in pages."""
        self._broken = self.streaming

    def cannot_stream(self) -> None:
        """This server has no streaming lists, or not for us."""
        self._streams = False

    def restart(self) -> None:
        """It is another server."""
        self._streams = self._may_stream
        self._broken = self.in_pieces = False
