"""What somebody else has made is read, and not run."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from batchgenerators.utilities.file_and_folder_operations import write_pickle
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.data.cases.labelled import check_cases
from nnunet_mgcl.data.cases.modality_dataset import PoolCase, labelled_sources
from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.network.branch import build_branch
from nnunet_mgcl.pretraining.handover import handed_on
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.safe_loading import load_checkpoint, loading_safely
from nnunet_mgcl.tss.volumes import load_volume
from tests.evil import Evil

CHECKPOINT = {"trainer_name": "MGCLTrainer", "init_args": {"device": torch.device("cpu")}, "_best_ema": np.float32(0.5)}


class TestCheckpoint:
    def test_weights_and_nnunet_s_numbers_are_read(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        logging = {"train_losses": [np.float64(1), np.int64(2), np.array([3.0, np.nan])], "flag": np.bool_(True)}
        content = CHECKPOINT | {"network_weights": OrderedDict(a=torch.ones(2)), "logging": logging}
        torch.save(content, tmp_path / "c.pth")
        found = load_checkpoint(tmp_path / "c.pth")
        np.testing.assert_equal(found["logging"], logging)
        assert torch.equal(found["network_weights"]["a"], torch.ones(2)) and found["_best_ema"] == np.float32(0.5)
        assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
        assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ

    def test_number_that_numpy_1_has_written_is_read(self, tmp_path) -> None:
        torch.save(CHECKPOINT | {"network_weights": {}}, tmp_path / "c.pth", _use_new_zipfile_serialization=False)
        content = (tmp_path / "c.pth").read_bytes()
        assert b"numpy._core.multiarray" in content
        (tmp_path / "c.pth").write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
        assert load_checkpoint(tmp_path / "c.pth")["_best_ema"] == np.float32(0.5)

    def test_code_is_refused_by_name_also_where_torch_is_asked_for_more(self, tmp_path, mark) -> None:
        path = tmp_path / "c.pth"
        torch.save(CHECKPOINT | {"network_weights": {}, "extra": Evil(mark)}, path)
        with pytest.raises(UserError, match=r"c\.pth\n.*code .*(posix|nt)\.mkdir[\s\S]*SECURITY"):
            load_checkpoint(path)
        with pytest.raises(UserError, match="mkdir"), loading_safely([path]):
            torch.load(path, weights_only=False)

    @pytest.mark.parametrize("length", [0, 100, -10])
    def test_truncated_one_is_named_and_a_result_of_a_phase_too(self, tmp_path, length) -> None:
        path = FoldLayout(tmp_path).phase("seed", "DWI") / "network.pth"
        path.parent.mkdir(parents=True)
        torch.save(CHECKPOINT | {"network_weights": {"a": torch.ones(1000)}}, path)
        path.write_bytes(path.read_bytes()[:length])
        for read in (lambda: load_checkpoint(path), lambda: handed_on("seed", "DWI", FoldLayout(tmp_path))):
            with pytest.raises(UserError, match=r"phases/seed/DWI/network\.pth\n.*truncated"):
                read()

    @pytest.mark.parametrize("content", [{"a": torch.ones(2)}, [1]])
    def test_other_content_is_refused(self, tmp_path, content) -> None:
        torch.save(content, tmp_path / "c.pth")
        with pytest.raises(UserError, match="another content"):
            load_checkpoint(tmp_path / "c.pth")


class TestPreprocessedCase:
    @pytest.fixture
    def folder(self, tiny_dataset):
        return tiny_dataset.preprocessed / "nnUNetPlans_2d"

    def read(self, folder, how, layout=None, plans=None, masks_json=None):
        if how == "labelled":
            return labelled_sources(folder, ["case_0"], [0], None, None)[0].load()
        if how == "pool":
            return PoolCase("case_0", folder, None).load()
        if how == "volume":
            return load_volume(nnUNetDatasetBlosc2(str(folder), ["case_0"]), "case_0")
        return check_cases(layout, plans, "2d", masks_json, ["case_0"])

    @pytest.mark.parametrize("how", ["labelled", "pool", "volume", "prepare"])
    def test_code_in_its_properties_is_refused_however_it_is_read(
        self, folder, how, tiny_dataset, plans, masks_json, mark
    ) -> None:
        """Of a version that was good before, too."""
        self.read(folder, how, tiny_dataset, plans, masks_json)
        write_pickle({"class_locations": {}, "spacing": Evil(mark)}, str(folder / "case_0.pkl"))
        with pytest.raises(UserError, match=r"case_0\.pkl\n.*code .*mkdir[\s\S]*SECURITY"):
            self.read(folder, how, tiny_dataset, plans, masks_json)

    def test_numbers_of_every_protocol_are_read(self, folder) -> None:
        properties = {"spacing": [np.float64(1)], "class_locations": {1: np.ones((3, 4), int), (-1, 1): []}}
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            (folder / "case_0.pkl").write_bytes(pickle.dumps(properties, protocol))
            np.testing.assert_equal(self.read(folder, "pool")[2]["spacing"], [1.0])


class TestPlan:
    def build(self, plans, **changes):
        architecture = plans["configurations"]["2d"]["architecture"]
        architecture["network_class_name"] = changes.pop("network", architecture["network_class_name"])
        architecture["arch_kwargs"] |= changes
        return build_branch(PlansManager(plans).get_configuration("2d"), 1, 2, False)

    def test_layers_are_built_and_a_function_among_them_is_not_called(self, plans, mark) -> None:
        assert self.build(plans, dropout_op="torch.nn.Dropout2d", dropout_op_kwargs={"p": 0.5}) is not None
        with pytest.raises(UserError, match=r"os\.mkdir"):
            self.build(plans, nonlin="os.mkdir", nonlin_kwargs={"path": str(mark)})

    @pytest.mark.parametrize("network", ["subprocess.Popen", "torch.nn.functional.relu", "os"])
    def test_network_is_a_network(self, plans, network) -> None:
        with pytest.raises(UserError, match=network):
            self.build(plans, network=network)
