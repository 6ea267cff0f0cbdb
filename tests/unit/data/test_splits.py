from __future__ import annotations

import json
import random
from collections import Counter

import numpy as np
import pytest
from nnunetv2.utilities.crossval_split import generate_crossval_split

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.data.splits import ensure_splits
from nnunet_mgcl.data.tss_table import TSSRow, TSSTable
from nnunet_mgcl.system.errors import UserError

CASES = [f"case_{number:02}" for number in range(20)]


def table_of(positives, negatives, patients=None):
    patients = patients or {}
    rows = {case: TSSRow(True, None, patients.get(case)) for case in positives}
    return TSSTable(rows | {case: TSSRow(False, None, patients.get(case)) for case in negatives})


@pytest.fixture
def layout(tmp_path):
    return DatasetLayout("Dataset901_Tiny", None, tmp_path)


@pytest.fixture
def lines():
    return []


class TestNewSplit:
    def test_without_table_it_is_nnunets_own(self, layout, lines):
        splits = ensure_splits(layout, CASES[::-1], None, lines.append)
        assert splits == generate_crossval_split(list(np.sort(CASES)))
        assert json.loads(layout.splits.read_text()) == splits
        assert len(lines) == 1

    def test_fewer_cases_fewer_folds(self, layout, lines):
        with pytest.raises(UserError, match="two at least"):
            ensure_splits(layout, CASES[:1], None, lines.append)
        assert len(ensure_splits(layout, CASES[:3], None, lines.append)) == 3

    @pytest.mark.parametrize("patients", [{}, {CASES[0]: "p"}])
    def test_the_log_names_patients_where_the_table_does(self, layout, lines, patients):
        ensure_splits(layout, CASES, table_of(CASES[:7], CASES[7:15], patients), lines.append)
        assert "stratified by TSS" in lines[0] and ("grouped by patient" in lines[0]) == bool(patients)

    def test_every_stratum_is_spread_evenly(self, layout, lines):
        table = table_of(CASES[:7], CASES[7:15])
        splits = ensure_splits(layout, CASES, table, lines.append)
        assert sorted(case for split in splits for case in split["val"]) == CASES
        for stratum in (True, False, None):
            counts = [sum(table.positive(case) is stratum for case in split["val"]) for split in splits]
            assert max(counts) - min(counts) <= 1
        assert max(len(split["val"]) for split in splits) <= 5

    def test_case_of_unknown_tss_stays_with_its_patient(self, layout, lines):
        table = table_of(CASES[:7], CASES[7:15], dict.fromkeys(CASES[:2], "p"))
        table.rows[CASES[19]] = TSSRow(None, None, "p")
        splits = ensure_splits(layout, CASES, table, lines.append)
        assert sum({CASES[0], CASES[1], CASES[19]} <= set(split["val"]) for split in splits) == 1

    def test_it_is_the_same_every_time(self, tmp_path, lines):
        table = table_of(CASES[:7], CASES[7:15])
        made = []
        for name, cases in (("a", CASES), ("b", CASES[::-1])):
            made.append(ensure_splits(DatasetLayout("D", None, tmp_path / name), cases, table, lines.append))
        assert made[0] == made[1]

    @pytest.mark.parametrize("seed", range(20))
    def test_random_tables_keep_patients_together_and_no_fold_empty(self, tmp_path, lines, seed):
        choose = random.Random(seed)
        patients = {case: f"p{choose.randrange(choose.choice([3, 8, 20]))}" for case in CASES}
        labels = {case: choose.choice([True, False, False]) for case in CASES}
        rows = {case: TSSRow(labels[case], None, patients[case]) for case in CASES}
        layout = DatasetLayout("D", None, tmp_path)
        splits = ensure_splits(layout, CASES, TSSTable(rows), lines.append, both_classes=False)
        assert len(splits) == min(5, len(set(patients.values())))
        assert Counter(case for split in splits for case in split["val"]) == Counter(CASES)
        for split in splits:
            assert split["train"] and split["val"]
            assert sorted(split["train"] + split["val"]) == CASES
            assert not {patients[c] for c in split["train"]} & {patients[c] for c in split["val"]}

    def test_two_cases_of_each_class_are_enough(self, layout, lines):
        splits = ensure_splits(layout, CASES[:6], table_of(CASES[:2], CASES[2:4]), lines.append)
        assert len(splits) == 5

    @pytest.mark.parametrize(("positives", "fold"), [(1, None), (0, "all")])
    def test_fold_of_one_class_is_refused_and_nothing_written(self, layout, lines, positives, fold):
        with pytest.raises(UserError, match="both classes"):
            ensure_splits(layout, CASES, table_of(CASES[:positives], CASES[positives:]), lines.append, fold=fold)
        assert not layout.splits.exists()

    @pytest.mark.parametrize("options", [{"fold": "all"}, {"both_classes": False}])
    def test_single_positive_case_will_do_for_fold_all_and_without_a_head(self, layout, lines, options):
        table = table_of(CASES[:1], CASES[1:])
        assert len(ensure_splits(layout, CASES, table, lines.append, **options)) == 5
        with pytest.raises(UserError, match="both classes"):  # the split that now exists divides no class either
            ensure_splits(layout, CASES, table, lines.append, fold=1)


class TestExistingSplit:
    def test_it_is_kept(self, layout, lines):
        splits = [{"train": CASES[5:], "val": CASES[:5]}]
        layout.splits.write_text(json.dumps(splits))
        before = layout.splits.stat().st_mtime_ns
        assert ensure_splits(layout, CASES, None, lines.append) == splits
        assert layout.splits.stat().st_mtime_ns == before and not lines
