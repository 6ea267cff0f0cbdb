from __future__ import annotations

import pytest

from nnunet_mgcl.data.images.bit_mask import lesion_labels
from nnunet_mgcl.mismatch.roles import find_roles
from nnunet_mgcl.system.errors import UserError


def dataset(channels, labels=None, modalities=()):
    content = {"channel_names": {str(i): name for i, name in enumerate(channels)}, "labels": labels or {"lesion": 1}}
    return content | ({"mgcl": {"lesion_labels": lesion_labels(modalities)}} if modalities else {})


def test_channels_and_masks_are_found_by_name_in_any_order() -> None:
    roles = find_roles(dataset(["Tmax_s", "t2-FLAIR", "ADC", "DWI"], modalities=["PWI", "FLAIR", "DWI"]))
    assert roles.channels == {"ADC": 2, "FLAIR": 1, "Tmax": 0}
    assert roles.masks == {"DWI": [4, 5, 6, 7], "FLAIR": [2, 3, 6, 7], "PWI": [1, 3, 5, 7]}
    assert roles.has_flair and roles.has_perfusion


def test_one_mask_for_all_is_the_dwi_lesion_where_there_is_diffusion() -> None:
    labels = {"background": 0, "core": 1, "whole": [1, 2], "ignore": 3}
    assert find_roles(dataset(["DWI", "FLAIR"], labels)).masks == {"DWI": [1, 2]}
    assert find_roles(dataset(["FLAIR", "T1"], labels)).masks == {}


def test_unnamed_perfusion_map_is_not_taken_for_tmax() -> None:
    roles = find_roles(dataset(["DWI", "PWI"]))
    assert roles.channels == {} and not roles.has_perfusion
    assert find_roles(dataset(["DWI", "PWI"]), {"Tmax": "PWI"}).channels == {"Tmax": 1}


def test_user_s_names_win() -> None:
    content = dataset(["DWI", "FLAIR", "dark fluid"], {"background": 0, "stroke": 1, "old": 2})
    roles = find_roles(content, {"FLAIR": "dark fluid"}, {"DWI": "stroke", "FLAIR": "2", "PWI": "1,2"})
    assert roles.channels["FLAIR"] == 2
    assert roles.masks == {"DWI": [1], "FLAIR": [2], "PWI": [1, 2]}
    assert find_roles(content, {"FLAIR": "0"}).channels["FLAIR"] == 0


@pytest.mark.parametrize(
    ("channels", "masks", "message"),
    [
        ({"FLAIR": "T1"}, {}, "a channel: .*dark"),
        ({"CBF": "dark"}, {}, "one of ADC, FLAIR, Tmax"),
        ({}, {"DWI": "strok"}, "labels such as 1,3, or one of"),
        ({}, {"ADC": "1"}, "one of DWI, FLAIR, PWI"),
    ],
)
def test_wrong_name_is_refused_with_those_that_there_are(channels, masks, message) -> None:
    with pytest.raises(UserError, match=message):
        find_roles(dataset(["DWI", "dark"]), channels, masks)
