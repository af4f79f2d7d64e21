"""What a row is: something to measure, by contestants that take turns, and what the figures say about the goal."""
import statistics
from dataclasses import dataclass, field
from typing import Callable

ROWS = []


@dataclass
class Line:
    """One line of the table. `reached` is None where there is no goal."""
    what: str
    ours: str
    rivals: str
    goal: str
    reached: bool | None


@dataclass
class Row:
    name: str
    about: str
    #: Names, each with a function (scratch, quick) -> {figure: number}, which raises if anything goes wrong.
    contestants: dict
    #: From the samples, {contestant: {figure: [numbers]}} as a Samples, the lines of the table.
    lines: Callable
    #: Runs at most, for contestants that take long; the table says how many there were.
    at_most: dict = field(default_factory=dict)


def row(name, about, contestants, at_most=None):
    """Registers a row; the function makes its lines."""
    def register(lines):
        ROWS.append(Row(name, about, contestants, lines, at_most or {}))
        return lines
    return register


class Samples:
    """The figures of all runs, by contestant."""

    def __init__(self, runs):
        self.runs = runs

    def has(self, who, figure=None):
        runs = self.runs.get(who) or []
        return bool(runs) and (figure is None or any(figure in run for run in runs))

    def all(self, who, figure):
        return [run[figure] for run in self.runs.get(who, []) if figure in run]

    def median(self, who, figure):
        return statistics.median(self.all(who, figure))

    def show(self, who, figure, form='.2f', unit=''):
        """The median and, in brackets, the range."""
        values = self.all(who, figure)
        if not values:
            return 'no run'
        low, middle, high = (format(value, form) for value in (min(values), statistics.median(values), max(values)))
        spread = f' ({low}-{high})' if low != high else ''
        return f'{middle}{unit}{spread}'
