"""Small symmetric systems, in one fixed order of operations: no library whose rounding depends on the machine."""

import math


def solve(matrix: list[list[float]], right: list[float]) -> tuple[list[float], list[float]]:
    """Return the solution of a symmetric positive definite system, and the diagonal of the inverse.

    Args:
        matrix: Rows, shape `(n, n)`; only the lower triangle is read.
        right: Shape `(n,)`.

    """
    size = len(right)
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
    forward = _forward(lower, right, 0)
    solution = [0.0] * size
    for row in range(size - 1, -1, -1):
        total = forward[row]
        for below in range(row + 1, size):
            total -= lower[below][row] * solution[below]
        solution[row] = total / lower[row][row]
    # (L L^T)^-1 has the squared length of the columns of L^-1 on its diagonal.
    diagonal = []
    for column in range(size):
        unit = [0.0] * size
        unit[column] = 1.0
        diagonal.append(math.fsum(value * value for value in _forward(lower, unit, column)))
    return solution, diagonal


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
