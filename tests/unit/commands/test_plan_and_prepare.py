from __future__ import annotations

import json

import pytest

from nnunet_mgcl.cli import main
from nnunet_mgcl.commands.schema import schema_text
from nnunet_mgcl.data.layout import DatasetLayout


@pytest.fixture
def layout(tiny_dataset, monkeypatch):
    """The tiny dataset, where the commands find it."""
    monkeypatch.setattr(DatasetLayout, "find", lambda _: tiny_dataset)
    return tiny_dataset


@pytest.fixture
def big(layout, large):
    """The dataset with `2d` of its plan as large as nnU-Net plans for 8 GB."""
    layout.plans("nnUNetPlans").write_text(json.dumps(large))
    return layout


def configurations(layout, name):
    return json.loads(layout.plans(name).read_text())["configurations"]


def block(layout, name):
    return configurations(layout, name)["2d"]["mgcl"]


class TestPlan:
    def test_plans_are_written_beside_the_old_ones(self, layout, capsys):
        assert main(["plan", "-d", "901", "--preset", "demo", "--set", "coarse.epochs=7"]) == 0
        new = json.loads(layout.plans("MGCLPlans_demo").read_text())
        assert new["plans_name"] == "MGCLPlans_demo"
        for configuration in ("2d", "3d_fullres"):
            assert new["configurations"][configuration]["mgcl"]["coarse"]["epochs"] == 7
        assert "mgcl" not in new["configurations"]["3d_cascade_fullres"]
        printed = capsys.readouterr().out
        assert "nnUNetv2_train 901 2d 0 -tr MGCLTrainer -p MGCLPlans_demo" in printed
        assert "nnUNetv2_preprocess" not in printed

    @pytest.mark.parametrize(
        ("arguments", "batch_size", "checkpointing", "line"),
        [
            ([], 4, None, "about 23.8 GB by nnU-Net's estimate, planned for 8.0 GB; so configuration.batch_size=4, "),
            (["--preset", "paper"], 16, True, "segment.checkpointing=true, about 10.6 GB, by computing twice; it does"),
            (["--set", "configuration.batch_size=12"], 12, True, "about 7.9 GB, by computing twice\n"),
            (["--set", "configuration.batch_size=12", "segment.checkpointing=false"], 12, False,
             "it does not fit, --set configuration.batch_size=4 would\n"),
            (["--set", "configuration.batch_size=2000000000", "segment.checkpointing=false"], 2_000_000_000, False,
             "--set configuration.batch_size=4 would\n"),  # found at once
        ],
    )  # fmt: skip
    def test_batch_is_lowered_where_nobody_chose_it(self, big, capsys, arguments, batch_size, checkpointing, line):
        main(["plan", "-d", "901", "-c", "2d", "-o", "New", *arguments])
        written = configurations(big, "New")["2d"]
        assert written["batch_size"] == batch_size
        assert written.get("mgcl", {}).get("segment", {}).get("checkpointing") == checkpointing
        assert line in capsys.readouterr().out

    def test_without_a_preset_the_plan_keeps_its_numbers_but_those_that_are_set(self, layout):
        main(["plan", "-d", "901", "--set", "coarse.epochs=7", "--set", "fine.epochs=3", "seed.epochs=2"])
        assert block(layout, "MGCLPlans") == {"coarse": {"epochs": 7}, "fine": {"epochs": 3}, "seed": {"epochs": 2}}
        assert configurations(layout, "MGCLPlans")["2d"]["batch_size"] == 12

    def test_changed_preprocessing_is_mentioned(self, layout, capsys):
        main(["plan", "-d", "901", "-c", "2d", "--preset", "short", "--set", "configuration.spacing=[1.0, 1.0]"])
        expected = "nnUNetv2_preprocess -d 901 -plans_name MGCLPlans_short -c 2d"
        assert expected in capsys.readouterr().out

    def test_different_plans_of_that_name_are_kept_or_the_models_of_them_named(
        self, layout, tmp_path, monkeypatch, capsys
    ):
        monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
        model = tmp_path / "results" / layout.name / "MGCLTrainer__MGCLPlans_demo__2d"
        (model / "fold_0").mkdir(parents=True)
        demo = ["plan", "-d", "901", "--preset", "demo"]
        main(demo)
        main(demo)  # the same again does no harm
        with pytest.raises(SystemExit, match="other content"):
            main([*demo, "--set", "coarse.epochs=7"])
        assert str(model) not in capsys.readouterr().out
        main([*demo, "--set", "coarse.epochs=7", "--overwrite"])
        assert block(layout, "MGCLPlans_demo")["coarse"]["epochs"] == 7
        assert str(model) in capsys.readouterr().out


def test_prepare_prepares_everything_and_takes_over_a_changed_table(layout, capsys):
    command = ["prepare", "-d", "901", "-c", "2d", "-np", "1"]
    assert main(command) == 0
    assert "ready for 2d: 5 folds, 5 cases with a TSS" in capsys.readouterr().out
    assert layout.splits.exists()
    layout.raw_tss.write_text(layout.raw_tss.read_text().replace("case_0,1", "case_0,2.5"))
    main(command)
    assert "case_0,2.5" in layout.tss.read_text()


def test_schema_is_printed_or_written(tmp_path, capsys):
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == schema_text()
    assert main(["schema", "-o", str(tmp_path / "schema.json")]) == 0
    assert json.loads((tmp_path / "schema.json").read_text())["properties"]["coarse"]
