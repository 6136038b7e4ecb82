"""Estimate how long the cells of a study take, from finished cells of the same model."""

from pipeline.study.one_cell import Cell


class Times:
    """Estimates of how long cells take, from finished cells of the same model."""

    def __init__(self, grid: list[Cell]) -> None:
        self._took: dict[tuple[str, str], list[float]] = {}
        for cell in grid:
            if cell.finished:
                self.note(cell, cell.manifest()["seconds"])

    def note(self, cell: Cell, seconds: float) -> None:
        """Record how long a cell took."""
        self._took.setdefault((cell.mode, cell.entry.label), []).append(seconds)

    def of(self, cell: Cell) -> float | None:
        """Average the cells of the same model, in the same mode if there are any; None if no cell has finished."""
        own = self._took.get((cell.mode, cell.entry.label))
        took = own or [s for (_, label), all_ in self._took.items() if label == cell.entry.label for s in all_]
        return sum(took) / len(took) if took else None

    def left(self, waiting: list[Cell]) -> str:
        """Say how long the waiting cells will take."""
        known = [self.of(cell) for cell in waiting]
        unknown = sum(seconds is None for seconds in known)
        words = f"{duration(sum(s for s in known if s is not None))} left"
        return f"{words}, and {unknown} cells of which none has run yet" if unknown else words


def duration(seconds: float) -> str:
    """Format seconds for a person."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
