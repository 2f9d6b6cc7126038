"""Rows of numbers in the order of their ids, with room to grow."""

import numpy as np

_GROWTH = 1.25  # memory is asked for in such steps; what is not used yet is not resident


class SortedRows:
    """ids (n,) int64, ascending, and rows (n, width), as views that hold until the next change.

    The order makes the content a function of which id has which row, not of how it came there: at equal distance the lower
    position is the lower id. Rows with higher ids than any before are appended, others merged, which copies all.
    Callers see to it that ids are unique, and present where they are to be found.
    """

    def __init__(self, width: int, dtype: type):
        self._ids, self._rows = np.empty(0, np.int64), np.empty((0, width), dtype)
        self._count = 0

    @property
    def ids(self) -> np.ndarray:
        return self._ids[: self._count]

    @property
    def rows(self) -> np.ndarray:
        return self._rows[: self._count]

    def holds(self, ids: np.ndarray) -> np.ndarray:
        """(m,) bool: which of these ids are present."""
        places = np.searchsorted(self.ids, ids)
        present = places < self._count
        present[present] = self.ids[places[present]] == ids[present]
        return present

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Positions (m,) of ids that are present."""
        return np.searchsorted(self.ids, ids)

    def add(self, ids: np.ndarray, rows: np.ndarray) -> None:
        if len(ids) == 0:
            return
        if (np.diff(ids) < 0).any():
            order = np.argsort(ids)
            ids, rows = ids[order], rows[order]
        if self._count and ids[0] < self.ids[-1]:
            order = np.argsort(np.concatenate([self.ids, ids]))
            self._ids = np.concatenate([self.ids, ids])[order]
            self._rows = np.concatenate([self.rows, rows])[order]
            self._count = len(order)
            return
        start, self._count = self._count, self._count + len(ids)
        if self._count > len(self._ids):
            self._grow(max(self._count, int(start * _GROWTH)))
        self._ids[start : self._count], self._rows[start : self._count] = ids, rows

    def _grow(self, capacity: int) -> None:
        ids, rows = self._ids, self._rows
        self._ids, self._rows = np.empty(capacity, np.int64), np.empty((capacity, rows.shape[1]), rows.dtype)
        self._ids[: len(ids)], self._rows[: len(rows)] = ids, rows

    def remove(self, ids: np.ndarray) -> None:
        kept = np.ones(self._count, bool)
        kept[self.find(ids)] = False
        self._ids, self._rows = self.ids[kept], self.rows[kept]
        self._count = len(self._ids)

    def replace(self, ids: np.ndarray, rows: np.ndarray) -> None:
        self._rows[self.find(ids)] = rows

    @classmethod
    def of_sorted(cls, ids: np.ndarray, rows: np.ndarray) -> "SortedRows":
        """Of arrays taken as they are; ValueError unless ids are ascending, not negative and as many as the rows."""
        if len(ids) != len(rows) or (len(ids) and ids[0] < 0) or (ids[1:] <= ids[:-1]).any():
            raise ValueError("ids are not in order")
        made = cls(rows.shape[1], rows.dtype)
        made._ids, made._rows, made._count = ids, rows, len(ids)
        return made
