import numpy as np
import pytest

from nnunet_mgcl.phantom.describe import describe, render
from nnunet_mgcl.phantom.stroke.clock import TissueClock, draw_clock, draw_hours


def draw(count, seed):
    rng = np.random.default_rng(seed)
    return [draw_clock(hours, rng) for hours in draw_hours(count, rng)]


def test_500_cases_are_as_hard_as_the_clinic():
    figures = describe(draw(500, seed=2), [2.0] * 500, [8.0] * 500)
    assert figures["cases"] == 500
    assert figures["early"] == 0.64
    assert figures["hours_mean"] == pytest.approx(7.3, abs=0.1)
    assert figures["hours_sd"] == pytest.approx(6.8, abs=0.1)
    low, high = figures["hours_range"]
    assert 0.5 <= low < 1 < 23 < high <= 24
    # One standard error is 0.03 for the sensitivity and the specificity, 0.04 for the penumbra.
    assert figures["sensitivity"] == pytest.approx(0.63, abs=0.06)
    assert figures["specificity"] == pytest.approx(0.76, abs=0.06)
    assert figures["penumbra_early"] == pytest.approx(0.80, abs=0.08)
    # FLAIR alone is a poor clock; all signs together are a better one, and no perfect one.
    assert figures["auroc_flair"] == pytest.approx(0.77, abs=0.05)
    assert figures["auroc_all"] == pytest.approx(0.89, abs=0.03)


def clock(hours, *, visible, core_fraction=0.9, t2_rise=10.0):
    return TissueClock(hours, t2_rise, 0.6, core_fraction, visible_ratio=1.0 if visible else 9.0)


def test_the_rule_and_the_penumbra_are_counted_as_they_are_defined():
    cases = [
        clock(1.0, visible=False, core_fraction=0.5),
        clock(2.0, visible=False, core_fraction=0.6),
        clock(4.49, visible=True, core_fraction=0.1),
        clock(4.5, visible=True),
        clock(20.0, visible=False),
    ]
    figures = describe(cases, [1.5, 2, 3, 4, 50], [3, 4, 6, 8, 100])
    assert figures["early"] == pytest.approx(3 / 5)
    assert figures["sensitivity"] == pytest.approx(2 / 3)
    assert figures["specificity"] == pytest.approx(1 / 2)
    assert figures["penumbra_early"] == pytest.approx(1 / 2)
    assert [*figures["core_ml"], *figures["deficit_ml"]] == [1.5, 3, 50, 3, 6, 100]


def test_flair_that_rises_with_age_in_every_patient_would_be_a_perfect_clock():
    cases = [clock(hours, visible=True, t2_rise=hours) for hours in np.linspace(1, 20, 40)]
    figures = describe(cases, [2] * 40, [4] * 40)
    assert figures["auroc_flair"] == 1
    assert figures["auroc_all"] > 0.99


def test_too_few_cases_have_no_figures_and_still_a_description():
    figures = describe([clock(10.0, visible=True)], [2.0], [4.0])
    assert figures["specificity"] == 1
    unknown = ("sensitivity", "penumbra_early", "auroc_flair", "auroc_all")
    assert np.isnan([figures[name] for name in unknown]).all()
    assert "strokes              1\n" in render(figures)
