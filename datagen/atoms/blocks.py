"""Standard errors of the means of correlated series, by blocking.

Neighbours in a time series know of each other, so the error of its mean is larger than the spread over the root of its
length. Averaging neighbours in pairs, again and again, leaves the mean and ends with blocks that know nothing of each
other; from there on the spread over the root of the number of blocks is the error. That point is found by a test on the
correlation of neighbouring blocks: with variance s_j and lag-one covariance g_j of the n_j blocks of level j,

    M_k = sum over j >= k of n_j (g_j / s_j)^2

is chi-squared with as many degrees of freedom as it has terms once blocks are independent. The first level k with M_k
below the 95 % quantile is taken. What the test cannot see there is still counted, neighbours being the only blocks that
may know of each other: error^2 = (s_k + 2 g_k) / (n_k - 1), the second term at least -s_k/2. Without it errors of
strongly correlated series come out a tenth to a fifth too small. Of a series shorter than about a hundred times the
time in which it forgets, the error is itself uncertain, and on average too small.

Reference:
    H. Flyvbjerg, H. G. Petersen, J. Chem. Phys. 91 (1989) 461, doi:10.1063/1.457480 (blocking); M. Jonsson, Phys. Rev.
    E 98 (2018) 043304, doi:10.1103/PhysRevE.98.043304 (the test).
"""

from __future__ import annotations

import torch
from scipy.stats import chi2
from torch import Tensor

FEWEST = 16  # blocks: with fewer the spread itself is uncertain by more than 18 %
CONFIDENCE = 0.95


def standard_error(series: Tensor) -> Tensor:
    """Standard error (*b,) of the mean of correlated, stationary series (S, *b), one for each of ``*b``.

    A series that does not move has the error zero, one with a number that is not finite nan.

    Raises:
        ValueError: fewer than 32 entries, of which no two levels of blocks can be made.
    """
    variances, ratios, counts = _levels(series)
    blocks = torch.tensor(counts, dtype=series.dtype, device=series.device).reshape(-1, *[1] * (series.dim() - 1))
    tests = (blocks * ratios.square()).flip(0).cumsum(0).flip(0)
    quantiles = torch.tensor(
        [chi2.ppf(CONFIDENCE, len(counts) - k) for k in range(len(counts))], dtype=series.dtype, device=series.device
    )
    independent = tests < quantiles.reshape(-1, *[1] * (series.dim() - 1))
    independent[-1] = True  # no longer blocks are to be had
    level = independent.to(torch.int8).argmax(0, keepdim=True)
    errors = variances * (1 + 2 * ratios.clamp(min=-0.25)) / (blocks - 1)
    return errors.gather(0, level)[0].sqrt()


def block_means(series: Tensor, blocks: int) -> Tensor:
    """Means (blocks, *b) of consecutive parts of equal length of series (S, *b); what is left over at the start is not
    used.

    Raises:
        ValueError: fewer entries than blocks.
    """  # fmt: skip
    length = len(series) // blocks
    if length < 1:
        raise ValueError(f"series: got {len(series)} entries, wanted at least {blocks}, one a block")
    return series[len(series) - blocks * length :].unflatten(0, (blocks, length)).mean(1)


def _levels(series: Tensor) -> tuple[Tensor, Tensor, list[int]]:
    """Variance s and g/s of the blocks of each level (levels, *b), and how many blocks it has."""
    if len(series) < 2 * FEWEST:
        raise ValueError(f"series: got {len(series)} entries, wanted at least {2 * FEWEST}")
    blocks = series - series.mean(0)
    variances, ratios, counts = [], [], []
    while len(blocks) >= FEWEST:
        n = len(blocks)
        centred = blocks - blocks.mean(0)
        variance = centred.square().mean(0)
        covariance = (centred[1:] * centred[:-1]).sum(0) / n
        still = variance == 0
        variances.append(variance)
        ratios.append(covariance / torch.where(still, 1.0, variance))
        counts.append(n)
        blocks = blocks[n % 2 :].unflatten(0, (n // 2, 2)).mean(1)
    return torch.stack(variances), torch.stack(ratios), counts
