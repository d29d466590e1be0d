"""What a figure gives back: rows with a ratio first and the bar that it has to meet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Bar:
    """A bound for a ratio. `least`: whether the ratio has to be at least the bound, or at most."""

    bound: float
    least: bool = False

    def met(self, value: float) -> bool:
        return value >= self.bound if self.least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.least else '<='} {self.bound:g}"


@dataclass(frozen=True)
class Row:
    """One measured ratio.

    `value`: the ratio, or the milliseconds of the one figure whose bar is a time. `bar`: None where the issue sets none
    for this device and size of model. `note`: what else there is to say. `details`: numbers for the JSON file.
    """

    figure: str
    case: str
    value: float
    bar: Bar | None = None
    note: str = ""
    unit: str = "x"
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        return "" if self.bar is None else "met" if self.bar.met(self.value) else "MISSED"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "met": None if self.bar is None else self.bar.met(self.value)}


HEADER = "| figure | case | ratio | bar | | beside it |\n|---|---|---|---|---|---|"


def markdown(row: Row) -> str:
    """A line of the table."""
    ratio = f"{row.value:.3f}x" if row.unit == "x" else f"{row.value:.1f} {row.unit}"
    return f"| {row.figure} | {row.case} | {ratio} | {row.bar or 'none'} | {row.verdict} | {row.note} |"


def missed(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.verdict == "MISSED"]
