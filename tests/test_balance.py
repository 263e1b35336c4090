"""The balance index against the rows of the paper's tables that agree with its formula."""

import pytest

from edgelm.errors import UsageError
from edgelm.models.balance import balance_index

ROWS = [
    # 300-W: NME, bits of activations and weights, as printed.
    (3.38, 32, 32, 11.42),
    (3.58, 32, 1, 0.384),
    (3.75, 32, 1, 0.422),
    (4.30, 8, 1, 0.139),
    (3.73, 32, 2, 0.835),
    # MPII: 100 - PCKh; the index of the printed PCKh where the paper prints another row's.
    (100 - 86.1, 32, 32, 193.2),
    (100 - 84.7, 32, 1, 7.02),
    (100 - 85.5, 32, 1, 6.31),
    (100 - 81.5, 8, 1, 2.57),
]


@pytest.mark.parametrize(("error", "activations", "weights", "expected"), ROWS)
def test_the_papers_rows(error: float, activations: int, weights: int, expected: float) -> None:
    assert balance_index(error, activations, weights) == pytest.approx(expected, rel=4e-3)


@pytest.mark.parametrize(("activations", "weights"), [(7, 1), (32, 3)])
def test_other_bits_are_refused(activations: int, weights: int) -> None:
    with pytest.raises(UsageError, match="no share for"):
        balance_index(3.0, activations, weights)
