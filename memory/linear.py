"""Small symmetric systems, in one fixed order of operations: no library whose rounding depends on the machine."""

import math


def solve(matrix: list[list[float]], right: list[float]) -> tuple[list[float], list[float]]:
    """Return the solution of a symmetric positive definite system, and the diagonal of the inverse.

    Args:
        matrix: Rows, shape `(n, n)`; only the lower triangle is read.
        right: Shape `(n,)`.

    """
    size = len(right)
    lower = _factor(matrix)
    forward = _forward(lower, right, 0)
    solution = [0.0] * size
    for row in range(size - 1, -1, -1):
        total = forward[row]
        for below in range(row + 1, size):
            total -= lower[below][row] * solution[below]
        solution[row] = total / lower[row][row]
    # (L L^T)^-1 has the squared length of the columns of L^-1 on its diagonal.
    return solution, [math.fsum(value * value for value in column) for column in _columns(lower)]


def inverse(matrix: list[list[float]]) -> list[list[float]]:
    """Return the inverse of a symmetric positive definite *matrix*; only its lower triangle is read."""
    columns = _columns(_factor(matrix))
    found = [[0.0] * len(columns) for _ in columns]
    for row, mine in enumerate(columns):
        for column in range(row + 1):
            total = math.fsum(a * b for a, b in zip(mine[row:], columns[column][row:], strict=True))
            found[row][column] = found[column][row] = total
    return found


def _factor(matrix: list[list[float]]) -> list[list[float]]:
    """Return L of *matrix* = L L^T (Cholesky)."""
    size = len(matrix)
    lower = [[0.0] * size for _ in range(size)]
    for row in range(size):
        mine = lower[row]
        for column in range(row):
            theirs = lower[column]
            total = matrix[row][column]
            for place in range(column):
                total -= mine[place] * theirs[place]
            mine[column] = total / theirs[column]
        total = matrix[row][row]
        for place in range(row):
            total -= mine[place] * mine[place]
        mine[row] = math.sqrt(total)
    return lower


def _columns(lower: list[list[float]]) -> list[list[float]]:
    """Return the columns of L^-1."""
    size = len(lower)
    return [_forward(lower, [float(row == column) for row in range(size)], column) for column in range(size)]


def _forward(lower: list[list[float]], right: list[float], start: int) -> list[float]:
    """Return x of L x = *right*, which is 0 before *start*."""
    found = [0.0] * len(right)
    for row in range(start, len(right)):
        mine = lower[row]
        total = right[row]
        for place in range(start, row):
            total -= mine[place] * found[place]
        found[row] = total / mine[row]
    return found
