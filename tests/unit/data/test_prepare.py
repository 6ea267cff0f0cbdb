from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pytest

from nnunet_mgcl.data.prepare import prepare_dataset, tss_known
from nnunet_mgcl.system.errors import UserError


@pytest.fixture
def lines():
    return []


def prepare(layout, plans, lines, configuration="2d", **options):
    return prepare_dataset(layout, plans, configuration, 1, lines.append, progress=False, **options)


def test_everything_is_made_and_a_second_run_is_silent_about_it(tiny_dataset, plans, lines):
    os.utime(tiny_dataset.raw_unlabelled, (1, 1))  # not just filled
    prepared = prepare(tiny_dataset, plans, lines)
    assert prepared.config.tss.enabled is True
    assert prepared.table.cases == [f"case_{number}" for number in range(5)]
    assert len(prepared.splits) == 5
    assert prepared.pool["FLAIR"] == ["pool_0", "pool_2"]
    assert tiny_dataset.splits.exists() and tiny_dataset.tss.exists()

    lines.clear()
    again = prepare(tiny_dataset, plans, lines)
    assert again == prepared
    assert len(lines) == 1 and "as when it was prepared" in lines[0]
    lines.clear()
    prepare(tiny_dataset, plans, lines, refresh=True)
    assert len(lines) == 3 and all("0 to preprocess" in line for line in lines)


def test_heir_of_a_configuration_shares_its_data(tiny_dataset, plans, lines):
    prepared = prepare(tiny_dataset, plans, lines, "2d_heir")
    assert tiny_dataset.unlabelled("nnUNetPlans_2d", "DWI").is_dir()
    assert prepared.config.seed.batch_size == 3


def test_pool_is_left_alone_where_the_training_does_not_read_it(tiny_dataset, plans, lines):
    assert prepare(tiny_dataset, plans, lines, uses_pool=False).pool == {}
    assert not tiny_dataset.unlabelled("nnUNetPlans_2d").exists()
    assert tiny_dataset.splits.exists()


@pytest.mark.parametrize("gone", ["unset", "misspelt"])
def test_raw_data_that_nobody_sees_are_mentioned_and_no_preparation_does_without(tiny_dataset, plans, lines, gone):
    raw = None if gone == "unset" else tiny_dataset.raw.with_name("elsewhere")
    layout = replace(tiny_dataset, raw=raw)
    prepare(layout, plans, lines)
    assert ("nnUNet_raw is not set" if raw is None else f"no {raw}") in lines[0]
    with pytest.raises(UserError, match=r"raw dataset Dataset901_Tiny[\s\S]*set nnUNet_raw"):
        prepare(layout, plans, lines, refresh=True)


def test_fold_beyond_the_split_is_refused_before_the_pool_costs_time(tiny_dataset, plans, lines):
    with pytest.raises(UserError, match="fold 5"):
        prepare(tiny_dataset, plans, lines, fold=5)
    assert not tiny_dataset.unlabelled("nnUNetPlans_2d").exists()
    assert len(prepare(tiny_dataset, plans, lines, fold=4).splits) == 5


def test_machine_without_raw_data(tiny_dataset, plans, lines):
    first = prepare(tiny_dataset, plans, lines)
    shutil.rmtree(tiny_dataset.raw)
    assert prepare(tiny_dataset, plans, lines) == first


class TestChangesSincePlanning:
    def change(self, layout, **keys):
        content = json.loads(layout.raw_dataset_json.read_text())
        layout.raw_dataset_json.write_text(json.dumps(content | keys))

    def test_groups_are_taken_over_by_the_command_in_the_message(self, tiny_dataset, plans, lines):
        self.change(tiny_dataset, mgcl={"modalities": {"DWI": [0, 2], "FLAIR": [1]}})
        with pytest.raises(UserError, match=r"mgcl\.modalities\.DWI was \[0\], is \[0, 2\]") as error:
            prepare(tiny_dataset, plans, lines)
        assert not tiny_dataset.splits.exists() and not tiny_dataset.tss.exists()
        _, source, target, *_ = error.value.remedy.split()
        shutil.copy(source, target)
        with pytest.raises(UserError, match="without channel 2"):  # the pool is read with the new groups
            prepare(tiny_dataset, plans, lines)

    def test_what_nnunet_has_to_do_again_is_refused(self, tiny_dataset, plans, lines):
        self.change(tiny_dataset, file_ending=".nrrd")
        with pytest.raises(UserError, match="nnUNetv2_plan_and_preprocess -d 901 takes over"):
            prepare(tiny_dataset, plans, lines)

    def test_what_training_does_not_read_is_mentioned(self, tiny_dataset, plans, lines):
        self.change(tiny_dataset, numTraining=7)
        prepare(tiny_dataset, plans, lines)
        assert "changed since planning" in lines[0]

    def test_new_and_vanished_cases_are_mentioned(self, tiny_dataset, plans, lines):
        for path in (tiny_dataset.raw / "imagesTr").glob("case_0_*"):
            path.rename(path.with_name(path.name.replace("case_0", "new")))
        prepare(tiny_dataset, plans, lines)
        assert lines[0].startswith("new in ") and "not trained on" in lines[0]
        assert lines[1].startswith("case_0 preprocessed, but not in ") and "trained on all the same" in lines[1]


class TestTable:
    def test_dataset_without_table(self, tiny_dataset, plans, lines):
        tiny_dataset.raw_tss.unlink()
        assert not tss_known(tiny_dataset)
        assert prepare(tiny_dataset, plans, lines).table is None

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("case,tss_hours,patient\ncase_0,1,=p\n", "line 2, column patient"),
            ("case,tss_hours\ncase_0,1\n", "both classes"),  # it allows no split
        ],
    )
    def test_wrong_table_is_not_copied(self, tiny_dataset, plans, lines, text, match):
        """Or mending the raw file would not help: training would go on with the copy."""
        tiny_dataset.raw_tss.write_text(text)
        with pytest.raises(UserError, match=match):
            prepare(tiny_dataset, plans, lines)
        assert not tiny_dataset.tss.exists()

    def test_training_keeps_the_copy_and_says_so_and_refresh_takes_over_the_change(self, tiny_dataset, plans, lines):
        prepare(tiny_dataset, plans, lines)
        tiny_dataset.raw_tss.write_text(tiny_dataset.raw_tss.read_text().replace("case_0,1", "case_0,2.5"))
        lines.clear()
        assert prepare(tiny_dataset, plans, lines).table.hours("case_0") == 1
        assert "`mgcl prepare` takes over the change" in lines[0]
        assert prepare(tiny_dataset, plans, lines, refresh=True).table.hours("case_0") == 2.5
        assert tiny_dataset.tss.read_bytes() == tiny_dataset.raw_tss.read_bytes()
        lines.clear()
        prepare(tiny_dataset, plans, lines, refresh=True)
        assert not any("tss.csv" in line for line in lines)

    def test_refresh_forgets_a_removed_table(self, tiny_dataset, plans, lines):
        prepare(tiny_dataset, plans, lines)
        tiny_dataset.raw_tss.unlink()
        assert prepare(tiny_dataset, plans, lines).table is not None
        assert prepare(tiny_dataset, plans, lines, refresh=True).table is None
        assert not tss_known(tiny_dataset)


class TestUnreadable:
    """What is there and cannot be read is refused; only what is absent counts as not given."""

    @pytest.mark.parametrize("make", [lambda path: path.symlink_to("gone"), os.mkfifo], ids=["link to nothing", "pipe"])
    @pytest.mark.parametrize("which", ["tss.csv", "its copy", "splits_final.json", "dataset.json", "manifest.sqlite"])
    def test_optional_input_is_refused_by_name_and_nothing_is_removed(self, tiny_dataset, plans, lines, which, make):
        prepare(tiny_dataset, plans, lines)
        path = {
            "tss.csv": tiny_dataset.raw_tss,
            "its copy": tiny_dataset.tss,
            "splits_final.json": tiny_dataset.splits,
            "dataset.json": tiny_dataset.raw_dataset_json,
            "manifest.sqlite": tiny_dataset.unlabelled("nnUNetPlans_2d") / "manifest.sqlite",
        }[which]
        path.unlink()
        make(path)
        before = set(tiny_dataset.preprocessed.rglob("*"))
        with pytest.raises(UserError) as refusal:
            prepare(tiny_dataset, plans, lines, refresh=True)
        assert refusal.value.where == str(path)
        assert set(tiny_dataset.preprocessed.rglob("*")) >= before


class TestSameScanTwice:
    @pytest.fixture
    def twins(self, tiny_dataset):
        """case_5 has the preprocessed files of case_1."""
        folder = tiny_dataset.preprocessed / "nnUNetPlans_2d"
        for suffix in (".b2nd", "_seg.b2nd", ".pkl"):
            shutil.copy(folder / f"case_1{suffix}", folder / f"case_5{suffix}")
        return tiny_dataset

    def split(self, layout, *val):
        cases = [f"case_{n}" for n in range(6)]
        folds = [{"train": [case for case in cases if case not in own], "val": own} for own in val]
        layout.splits.write_text(json.dumps(folds))

    def test_the_split_that_is_there_is_checked(self, twins, plans, lines):
        self.split(twins, ["case_0"], ["case_5"])
        with pytest.raises(UserError, match=r"splits_final\.json, fold 1[\s\S]*case_1 and case_5"):
            prepare(twins, plans, lines)

    def test_on_one_side_is_mentioned(self, twins, plans, lines):
        self.split(twins, ["case_0"], ["case_1", "case_5"])
        prepare(twins, plans, lines)
        assert any("case_1 and case_5 hold the same scan" in line for line in lines)

    def test_one_patient_is_a_remedy(self, twins, plans, lines):
        rows = ["case,tss_hours,patient", "case_0,1,a", "case_1,2,b", "case_2,3,c", "case_3,6,d", "case_4,8,e"]
        twins.raw_tss.write_text("\n".join([*rows, "case_5,,b", ""]))
        prepare(twins, plans, lines)
        assert any("case_1 and case_5 hold the same scan" in line for line in lines)
