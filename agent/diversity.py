"""How diverse a set is, and what each sample adds to it. Pure; unit embeddings in, numbers out.

The reward is the exact leave-one-out gain of a quality-weighted log-determinant (determinantal point processes:
Kulesza & Taskar 2012, arXiv:1207.6083). Vendi (Friedman & Dieng 2023, arXiv:2210.02410) and RKE (arXiv:2306.11261)
are reported beside it and never rewarded, so that they can show gaming.
"""

import math
from functools import cache
from itertools import pairwise

import numpy as np
import threadpoolctl
from numpy.typing import NDArray
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dpotrf, dtrtri

Matrix = NDArray[np.float64]

NOISE = 0.1
"""Variance of the log-determinant's noise floor: smaller counts finer differences between near-duplicates."""

TOP_GAIN = math.log(1 + 1 / NOISE)
"""Gain of a perfect sample that is like no other: the scale of all gains (2.4 nats)."""


def similarities(vectors_N_D: NDArray[np.floating]) -> Matrix:
    """Return cosines clamped at 0, shape `(N, N)`, the diagonal exactly 1."""
    wide = vectors_N_D.astype(np.float64)
    kernel = np.clip(wide @ wide.T, 0.0, 1.0)
    np.fill_diagonal(kernel, 1.0)
    return kernel


def leave_one_out_gains(vectors_N_D: NDArray[np.floating], quality_N: NDArray[np.floating]) -> Matrix:
    """Return what each sample adds to the set, `D(S) - D(S without it)` with `D = log det(I + qKq / noise)`.

    In closed form for all at once: `-log((I + qKq / noise)^-1)_ii`. Never negative; 0 for quality 0; exact duplicates
    share their worth.

    Args:
        vectors_N_D: Unit rows.
        quality_N: In [0, 1].

    Returns:
        Nats, shape `(N,)`, at most `TOP_GAIN`.
    """
    if not len(vectors_N_D):
        return np.zeros(0)
    with _blas().limit(limits=1, user_api="blas"):  # at this size a second thread costs more than it brings
        found = _inverse_diagonal(vectors_N_D, quality_N, clamped=True)
        if found is None:  # clamping can leave more than a Gram matrix; the cosines themselves never do
            found = _inverse_diagonal(vectors_N_D, quality_N, clamped=False)
    assert found is not None, "I + a Gram matrix is positive definite"  # noqa: S101
    gains: Matrix = np.maximum(0.0, -np.log(np.minimum(found, 1.0)))
    return gains


@cache
def _blas() -> threadpoolctl.ThreadpoolController:
    """Return what sets the thread counts of the libraries that are loaded; looking for them takes longer than a score."""
    return threadpoolctl.ThreadpoolController()


def _inverse_diagonal(
    vectors_N_D: NDArray[np.floating], quality_N: NDArray[np.floating], *, clamped: bool
) -> Matrix | None:
    """Return the diagonal of `(I + qKq / noise)^-1`, shape `(N,)`; None if the matrix is not positive definite.

    Only triangles are computed: with `M = U'U` the diagonal is the squared length of the rows of `U^-1`, a third of the work
    of an inverse. LAPACK in float64, so the same bits for the same input and thread count.
    """
    wide = vectors_N_D.astype(np.float64)
    matrix = dsyrk(1.0, wide.T, trans=1)  # the upper triangle of the cosines, in Fortran's order; 0 below it
    if clamped:
        np.clip(matrix, 0.0, 1.0, out=matrix)
    weight = quality_N.astype(np.float64) / math.sqrt(NOISE)
    matrix *= weight[:, None]
    matrix *= weight
    np.fill_diagonal(matrix, 1.0 + weight**2)
    upper, failed = dpotrf(matrix, overwrite_a=1)
    if failed:
        return None
    inverse, _ = dtrtri(upper, overwrite_c=1)
    diagonal: Matrix = np.einsum("ij,ij->i", inverse, inverse)
    return diagonal


def vendi(vectors_N_D: NDArray[np.floating]) -> float:
    """Return the effective number of different samples, `exp(entropy of the eigenvalues of K / N)`, in [1, N]."""
    if not len(vectors_N_D):
        return 0.0
    wide = vectors_N_D.astype(np.float64)
    small = wide.T @ wide if wide.shape[1] < len(wide) else wide @ wide.T  # same non-zero eigenvalues
    values = np.linalg.eigvalsh(small / len(wide))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def rke(vectors_N_D: NDArray[np.floating]) -> float:
    """Return Vendi of order 2, `1 / ||K / N||^2`, in [1, N]: no eigenvalues, cheap at any size."""
    if not len(vectors_N_D):
        return 0.0
    wide = vectors_N_D.astype(np.float64)
    return float(len(wide) ** 2 / np.square(wide @ wide.T).sum())


def rke_gains(vectors_N_D: NDArray[np.floating], quality_N: NDArray[np.floating]) -> Matrix:
    """Return what each sample adds to the order-2 Vendi score of the set: `N log(RKE(S) / RKE(S without it))`.

    With weights `q`, `RKE = (sum q)^2 / sum q_i q_j k_ij^2`; all gains at once in `O(N^2)`. About 1 is like no other at the
    mean weight, 0 adds nothing, below 0 makes the set less diverse. A set of one gains 1: it is like no other.

    Args:
        vectors_N_D: Unit rows.
        quality_N: In [0, 1].

    Returns:
        Shape `(N,)`, dimensionless; 0 for quality 0.
    """
    weight = quality_N.astype(np.float64)
    wide = vectors_N_D.astype(np.float64)
    alike = weight[:, None] * np.square(wide @ wide.T) * weight
    total, overlap = weight.sum(), alike.sum()
    rest, left = total - weight, overlap - 2 * alike.sum(axis=1) + np.diag(alike)
    gains = np.where(weight > 0, 1.0, 0.0)
    some = (weight > 0) & (rest > 1e-9 * total)
    # No set of N - 1 scores more than N - 1: so rounding cannot take `left` to 0 where one sample is worth all the rest.
    left = np.maximum(left[some], np.square(rest[some]) / max(1, len(weight) - 1))
    gains[some] = len(weight) * np.log(total**2 / overlap * left / np.square(rest[some])) if some.any() else 0.0
    return gains


def distinct_2(texts: list[str]) -> float:
    """Return different word bigrams per word bigram over all *texts*, in [0, 1]."""
    bigrams = [pair for text in texts for pair in pairwise(text.split())]
    return len(set(bigrams)) / len(bigrams) if bigrams else 0.0


def greedy_choice(vectors_N_D: NDArray[np.floating], quality_N: NDArray[np.floating], count: int) -> list[int]:
    """Return *count* rows that greedily maximise `log det(I + qKq / noise)`, best first; ties by lower row.

    By incremental Cholesky (Chen et al. 2018, arXiv:1709.05135): `O(N count^2)`.
    """
    weight = quality_N.astype(np.float64)
    kernel = weight[:, None] * similarities(vectors_N_D) * weight[None, :] / NOISE
    left = 1.0 + np.diag(kernel)
    factors = np.zeros((min(count, len(weight)), len(weight)))
    chosen: list[int] = []
    open_rows = np.ones(len(weight), dtype=bool)
    while len(chosen) < min(count, len(weight)):
        row = int(np.argmax(np.where(open_rows, left, -np.inf)))
        step = len(chosen)
        factors[step] = (
            kernel[row] + (np.arange(len(weight)) == row) - factors[:step, row] @ factors[:step]
        ) / math.sqrt(
            left[row],
        )
        left = np.maximum(left - factors[step] ** 2, 1e-12)
        open_rows[row] = False
        chosen.append(row)
    return chosen
