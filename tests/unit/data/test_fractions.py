from __future__ import annotations

from collections import Counter

import pytest

from nnunet_mgcl.data.fractions import labelled_share
from nnunet_mgcl.data.tss_table import TSSRow, TSSTable
from nnunet_mgcl.system.errors import UserError

CASES = [f"case_{number:02}" for number in range(60)]
FRACTIONS = (0.1, 0.2, 0.5, 0.9, 1.0)


def table(positive=lambda number: number % 3 == 0, patient=lambda number: f"p{number // 2}") -> TSSTable:
    """Pairs of cases are of one patient; every third case is within the window."""
    return TSSTable({case: TSSRow(positive(n), None, patient(n)) for n, case in enumerate(CASES)})


def share(fraction, known=None, seed=0, cases=CASES, **options):
    return labelled_share(cases, fraction, known, seed, "Dataset901, fold 0", **options)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("known", [None, table()], ids=["no table", "table"])
def test_smaller_fraction_is_part_of_a_larger_one(known, seed) -> None:
    drawn = [share(fraction, known, seed) for fraction in FRACTIONS]
    assert drawn[-1] == CASES
    for smaller, larger in zip(drawn, drawn[1:], strict=False):
        assert set(smaller) < set(larger) and smaller == sorted(smaller)
    assert [len(own) for own in drawn] == pytest.approx([60 * fraction for fraction in FRACTIONS], abs=1)


def test_seed_decides() -> None:
    assert share(0.2, table(), 0) == share(0.2, table(), 0) != share(0.2, table(), 1)


def test_order_of_the_cases_does_not_matter() -> None:
    assert sorted(share(0.2, table(), cases=CASES[::-1])) == share(0.2, table())


@pytest.mark.parametrize("seed", range(5))
def test_patients_stay_together(seed) -> None:
    known = table()
    drawn = share(0.3, known, seed)
    assert all(count == 2 for count in Counter(map(known.patient, drawn)).values())


@pytest.mark.parametrize("seed", range(5))
def test_classes_keep_their_proportions(seed) -> None:
    known = table(positive=lambda number: number < 12, patient=lambda number: None)
    drawn = share(0.5, known, seed)
    assert abs(sum(map(known.positive, drawn)) - 6) <= 1 and len(drawn) == 30


@pytest.mark.parametrize("rare", [True, False])
def test_a_case_of_each_class_is_there_for_a_head(rare) -> None:
    known = table(positive=lambda number: (number == 59) == rare, patient=lambda number: None)
    assert "case_59" in share(0.1, known)
    drawn = [share(0.1, known, seed, both_classes=False) for seed in range(9)]
    assert not all("case_59" in own for own in drawn)


def test_too_few_are_refused() -> None:
    assert len(share(5 / 60)) == 5
    with pytest.raises(UserError, match=r"labelled_fraction 0.05 of 60 training cases: 3"):
        share(0.05)
