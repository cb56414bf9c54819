"""Who belongs to whom at the least cost, in NumPy alone: SciPy is no device's. Pure."""

import numpy as np


def least_cost(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns), both (K,) int64 by rising row, K the smaller side of `cost` (N, M), which is finite: pairs whose
    costs add up to the least that there is. What `scipy.optimize.linear_sum_assignment` gives, where that is one.

    Rows come in one by one, each along the path of least reduced cost to a column that is free (Hungarian method with
    potentials, O(K^2 M)).
    """
    if cost.shape[0] > cost.shape[1]:
        columns, rows = least_cost(cost.T)
        order = np.argsort(rows)
        return rows[order], columns[order]
    count, width = cost.shape
    of_row, of_column = np.zeros(count), np.zeros(width)  # potentials: no reduced cost is below 0
    row_of = np.full(width, -1)
    for row in range(count):
        nearest, through = np.full(width, np.inf), np.full(width, -1)  # of each column: how far, and by which column
        seen, last, at = np.zeros(width, bool), -1, row
        while True:
            reduced = cost[at] - of_row[at] - of_column
            nearer = ~seen & (reduced < nearest)
            nearest[nearer], through[nearer] = reduced[nearer], last
            column = int(np.argmin(np.where(seen, np.inf, nearest)))
            step = nearest[column]
            of_row[row] += step
            of_row[row_of[seen]] += step
            of_column[seen] -= step
            nearest[~seen] -= step
            seen[column], last = True, column
            if row_of[column] < 0:
                break
            at = row_of[column]
        while column >= 0:  # back along the path, each column takes the row of the one before
            before = through[column]
            row_of[column] = row if before < 0 else row_of[before]
            column = before
    columns = np.flatnonzero(row_of >= 0)
    order = np.argsort(row_of[columns])
    return row_of[columns][order], columns[order]
