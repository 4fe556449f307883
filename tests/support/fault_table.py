"""The table of faults with which a session ends. Its rows travel in the tests' reports, also from another process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import pytest

FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Row:
    """What one fault came to. ``seconds`` from its end until a change of each cluster had reached the client."""

    fault: str
    how: str
    wrong: int
    seconds: float
    within: float

    def report(self, item: pytest.Item) -> None:
        """Have it in the report of the test's teardown."""
        item.user_properties.append((FAULT, asdict(self)))


def table(reports: Iterable[object]) -> Iterator[str]:
    """Its lines; none where no report has a row."""
    ends = (each for each in reports if isinstance(each, pytest.TestReport) and each.when == "teardown")
    rows = [Row(**row) for each in ends for name, row in each.user_properties if name == FAULT]
    if rows:
        yield "| fault | how it was made | wrongly removed | right again after | at most |"
        yield "| --- | --- | ---: | ---: | ---: |"
    for row in rows:
        yield f"| {row.fault} | {row.how} | {row.wrong} | {row.seconds:.1f} s | {row.within:.0f} s |"
