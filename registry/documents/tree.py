"""The values of a YAML stream, built event by event. Pure.

What sigs.k8s.io/yaml makes of the same text: mappings whose keys are strings, lists, strings, numbers, booleans, null.
A value that cannot be is a ``Problem`` of the document around it and stops nobody from reading on; only text that is
no YAML raises. With a ``Visitor``, the items of a Kubernetes List are handed over one by one and need not stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

import yaml

from registry.documents.errors import DocumentError, Problem
from registry.documents.events import Event, events
from registry.documents.frames import INNER, ITEMS, MERGE, NO_KEY, OBJECT, ROOT, Anchored, Frame, Tree, Visitor
from registry.documents.scalars import MERGE_TAG, ScalarError, in_json, key_of, plain, tagged

MAX_VALUES = 1_000_000
"""Values in one object. The API server takes objects of 3 MiB at most."""

MAX_DEPTH = 100
MAX_ALIASED_CHARACTERS = 4 << 20
"""Text in one document that is there only because aliases repeat it."""

_FEW_ALIASED, _MANY_ALIASED = 400_000, 4_000_000
"""go-yaml: up to the first number of values 99 % of them may come of aliases, from the second on 10 %."""


_LETTERS = frozenset("yYnN")


class Builder:
    """Reads one stream; ``trees`` once. ``ours``: it is no Kubernetes object; ``y`` is text, ``.inf`` a number."""

    def __init__(
        self, content: bytes, visitor: Visitor | None = None, *, ours: bool = False, most: int = MAX_VALUES
    ) -> None:
        """``most`` values in one object, that aliases repeat not counted."""
        self._ours = ours
        self._most = most
        self._content = content
        self._visitor = visitor
        self._stack: list[Frame] = []
        self._anchors: dict[str, Anchored | None] = {}
        self._skipping = 0
        """How many collections of skipped text are open."""
        self._built = self._base = 0
        self._values = self._characters = 0
        self._aliased = self._aliased_characters = 0

    @property
    def passing(self) -> bool:
        """It is in a document that is a single object which nobody wants."""
        return self._skipping > 0 and len(self._stack) == 2

    def trees(self) -> Iterator[Tree]:
        """The documents in their order, without those that are empty.

        Raises:
            DocumentError: the text is no YAML, or an object is unreasonably large.
        """
        handlers: dict[type[yaml.Event], Callable[[Event], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._start,
            yaml.SequenceStartEvent: self._start,
            yaml.MappingEndEvent: self._end,
            yaml.SequenceEndEvent: self._end,
            yaml.AliasEvent: self._alias,
        }
        ordinal = -1
        for event in events(self._content):
            handle = handlers.get(event.__class__)
            if handle is not None:
                handle(event)
            elif isinstance(event, yaml.DocumentStartEvent):
                ordinal += 1
                self._reset(event)
            elif isinstance(event, yaml.DocumentEndEvent):
                root = self._stack[0]
                if root.value[0] is not None or root.problem is not None:
                    yield Tree(root.value[0], root.problem, ordinal, root.line)
                root.value = []

    def shifted(self, lines: int) -> Iterator[Tree]:
        """``trees``, of a stream that is preceded by so many lines: errors count them."""
        try:
            yield from self.trees()
        except DocumentError as error:
            raise DocumentError(str(error), error.line + lines, error.column) from error

    def _reset(self, event: Event) -> None:
        line = event.start_mark.line + 1
        self._stack = [Frame([], mapping=False, level=ROOT, line=line, path="", anchor=None)]
        self._anchors = {}
        self._skipping = self._built = self._base = 0
        self._values = self._characters = self._aliased = self._aliased_characters = 0

    def _scalar(self, event: Event) -> None:
        if self._skipping and event.anchor is None:
            return
        text = event.value
        frame = self._stack[-1]
        self._count(event)
        self._characters += len(text)
        if event.anchor is not None:
            value, problem = self._value(event, text)
            self._anchors[event.anchor] = Anchored(value, 1, len(text), problem)
            if self._skipping:
                return
        if not frame.mapping or frame.key is not NO_KEY:
            value, problem = self._value(event, text)
        elif text == "<<" and (event.implicit[0] or event.tag == MERGE_TAG):
            value, problem = MERGE, None
        else:
            value, problem = self._value(event, text, key=True)
        if problem is not None and frame.problem is None:
            frame.problem = problem
        self._put(frame, value, event)

    def _count(self, event: Event) -> None:
        """One more value is built."""
        self._built += 1
        self._values += 1
        if self._built - self._base > self._most:
            raise DocumentError(f"an object of more than {self._most} values", event.start_mark.line + 1)

    def _value(self, event: Event, text: str, *, key: bool = False) -> tuple[Any, Problem | None]:
        tag = event.tag
        if tag is None and not event.implicit[0]:
            return text, None
        try:
            value = plain(text) if tag is None else tagged(text, tag)
            if value.__class__ is str:
                return value, None
            if self._ours and (text in _LETTERS or (isinstance(value, float) and not isfinite(value))):
                return text if text in _LETTERS else value, None
            return key_of(value) if key else in_json(value), None
        except ScalarError as error:
            return text, Problem(str(error), event.start_mark.line + 1)

    def _start(self, event: Event) -> None:
        if self._skipping and event.anchor is None:
            self._skipping += 1
            return
        mapping = event.__class__ is yaml.MappingStartEvent
        parent = self._stack[-1]
        level, path = self._place(parent, mapping)
        line = event.start_mark.line + 1
        frame = Frame({} if mapping else [], mapping=mapping, level=level, line=line, path=path, anchor=event.anchor)
        if parent.level == ROOT:
            parent.line = line
        self._count(event)
        frame.values, frame.characters = self._values - 1, self._characters
        frame.skipped, self._skipping = self._skipping, 0
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._stack.append(frame)
        if len(self._stack) > MAX_DEPTH + 1:
            if self._visitor is None:
                raise DocumentError(f"nested deeper than {MAX_DEPTH} levels", line)
            self._blame(frame, f"nested deeper than {MAX_DEPTH} levels", event)
            self._skipping = 1

    def _place(self, parent: Frame, mapping: bool) -> tuple[int, str]:
        """The level and the path of a collection that begins in ``parent``."""
        if self._skipping:
            return INNER, ""
        if mapping and parent.level == ROOT:
            return OBJECT, "$"
        if mapping and parent.level == ITEMS:
            return OBJECT, f"{parent.path}[{len(parent.value)}]"
        if not mapping and parent.level == OBJECT and parent.key == "items":
            return ITEMS, f"{parent.path}.items"
        return INNER, ""

    def _end(self, event: Event) -> None:
        if self._skipping:
            self._skipping -= 1
            if self._skipping:
                return
        frame = self._stack.pop()
        parent = self._stack[-1]
        if frame.anchor is not None and self._anchors.get(frame.anchor, frame) is None:
            size, characters = self._values - frame.values, self._characters - frame.characters
            self._anchors[frame.anchor] = Anchored(frame.value, size, characters, frame.problem)
        if frame.skipped:
            self._skipping = frame.skipped
            return
        if parent.level == ITEMS:
            self._item(parent, frame.path, frame.line, frame.value, frame.problem)
            return
        if parent.problem is None:
            parent.problem = frame.problem
        self._put(parent, frame.value, event)

    def _alias(self, event: Event) -> None:
        if self._skipping:
            return
        frame = self._stack[-1]
        found = self._anchors.get(event.anchor)
        if found is None:
            known = event.anchor in self._anchors
            text = "contains itself" if known else "has no anchor before it; put text that begins with * in quotes"
            self._blame(frame, f"the alias *{event.anchor} {text}", event)
            self._put(frame, None, event)
            return
        self._values += found.values
        self._characters += found.characters
        self._aliased += found.values
        self._aliased_characters += found.characters
        problem = found.problem
        if self._excessive():  # to read on would cost what is refused here
            text = "aliases come to more values than any document needs; write them out"
            raise DocumentError(text, event.start_mark.line + 1)
        if frame.level == ITEMS:
            path = f"{frame.path}[{len(frame.value)}]"
            self._item(frame, path, event.start_mark.line + 1, found.value, problem)
            return
        if frame.problem is None:
            frame.problem = problem
        self._put(frame, found.value, event)

    def _excessive(self) -> bool:
        if self._aliased_characters > MAX_ALIASED_CHARACTERS:
            return True
        if self._aliased <= 100 or self._values <= 1000:
            return False
        spread = (self._values - _FEW_ALIASED) / (_MANY_ALIASED - _FEW_ALIASED)
        return self._aliased / self._values > 0.99 - 0.89 * min(max(spread, 0.0), 1.0)

    def _item(self, items: Frame, path: str, line: int, value: Any, problem: Problem | None) -> None:
        self._base = self._built
        if self._visitor is None:
            items.problem = items.problem or problem
            items.value.append(value)
        else:
            items.value.append(self._visitor.item(path, line, value, problem))

    def _put(self, frame: Frame, value: Any, event: Event) -> None:
        """The next key, value or item of ``frame``."""
        if not frame.mapping:
            frame.value.append(value)
        elif frame.key is NO_KEY:
            frame.key = self._key(frame, value, event)
        else:
            key, frame.key = frame.key, NO_KEY
            if key is MERGE:
                self._merge(frame, value, event)
                return
            frame.value[key] = value
            if frame.level == OBJECT and self._visitor is not None and key in {"kind", "apiVersion"}:
                self._consider(frame, self._visitor)

    def _key(self, frame: Frame, value: Any, event: Event) -> Any:
        if value is MERGE:
            frame.explicit = set(frame.value) if frame.explicit is None else frame.explicit
            return value
        if not isinstance(value, str):  # a collection, or an alias
            if isinstance(value, dict | list):
                self._blame(frame, "a key that is a mapping or a list; JSON has none", event)
                return ""
            try:
                value = key_of(value)
            except ScalarError as error:
                self._blame(frame, str(error), event)
                return ""
        if frame.explicit is not None:
            if value in frame.explicit:
                self._blame(frame, f"the key {value!r} twice in one mapping", event)
            frame.explicit.add(value)
        elif value in frame.value:
            self._blame(frame, f"the key {value!r} twice in one mapping", event)
        return value

    def _merge(self, frame: Frame, value: Any, event: Event) -> None:
        """``<<`` as go-yaml v2 has it: it overrides what stands before it; of a list, the first mapping counts most."""
        merged = list(reversed(value)) if isinstance(value, list) else [value]
        for each in merged:
            if not isinstance(each, dict):
                self._blame(frame, "<< needs a mapping or a list of mappings", event)
                return
            frame.value.update(each)

    def _consider(self, frame: Frame, visitor: Visitor) -> None:
        """Skip the rest of an object that nobody wants, unless an alias may want a part of it."""
        version, kind = frame.value.get("apiVersion"), frame.value.get("kind")
        if not isinstance(version, str) or not isinstance(kind, str) or not visitor.skips(version, kind):
            return
        if any(each.anchor is not None for each in self._stack):
            return
        frame.value = {"apiVersion": version, "kind": kind}
        frame.problem = None
        self._skipping = 1

    @staticmethod
    def _blame(frame: Frame, message: str, event: Event) -> None:
        if frame.problem is None:
            frame.problem = Problem(message, event.start_mark.line + 1)
