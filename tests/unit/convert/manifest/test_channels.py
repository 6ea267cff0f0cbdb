from __future__ import annotations

import pytest

from nnunet_mgcl.convert.manifest.channels import KINDS, guess_kind, is_adc, is_dwi, is_perfusion, leader, near_kinds

NAMES = {
    "ADC": ["Adc", "adc_map", "dwi_adc", "ep2d_diff_3scan_trace_p2_ADC", "Apparent Diffusion Coefficient (mm2/s)"],
    "DWI": ["sub-01_dwi", "ep2d_diff_TRACEW", "b1000", "Exponential Apparent Diffusion Coefficient"],
    "FLAIR": ["t2_flair_tra", "t2_tirm_tra_dark-fluid"], "PWI": ["ep2d_perf"],
    "Tmax": ["rTMAX", "RAPID Tmax [s]"], "CBF": ["rCBF"], "CBV": ["CBV_map"],
    "T2": ["T2w", "t2_tse_tra"], "T2star": ["T2*", "SWI_Images"],
    "T1": ["T1w", "T1pre_reg"], "T1c": ["T1CE", "t1_post_contrast", "T1w_Gd"],
    None: ["eADC", "headcoil", "difficult", "relCBV", "localizer", ""],
}  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for kind, names in NAMES.items() for name in names])
def test_kind_of_a_name(name, kind):
    assert guess_kind(name) == kind


def test_every_kind_names_itself():
    assert [guess_kind(kind.lower()) for kind in KINDS] == [guess_kind(kind) for kind in KINDS] == list(KINDS)
    assert [kind for kind in KINDS if is_adc(kind) or is_dwi(kind)] == ["DWI", "ADC"]
    assert [kind for kind in KINDS if is_perfusion(kind)] == ["Tmax", "CBF", "CBV", "MTT", "TTP", "PWI"]


def test_leader_is_the_first_channel_of_the_acquisition():
    channels = ("FLAIR", "ADC", "DWI", "MTT", "Tmax", "T2")
    assert {channel: leader(channel, channels) for channel in channels} == {
        "FLAIR": "FLAIR", "ADC": "DWI", "DWI": "DWI", "MTT": "MTT", "Tmax": "MTT", "T2": "T2",
    }  # fmt: skip
    assert leader("ADC", ("FLAIR", "ADC")) == "ADC"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("ACD", ["ADC"]),  # swapped
        ("AC", ["ADC"]),  # missing
        ("rADC", ["ADC"]),  # added
        ("ADX_map", ["ADC"]),  # another
        ("FLIAR", ["FLAIR"]),
        ("Tmx", ["Tmax"]),
        ("DTI", ["DWI"]),
        ("CBX", ["CBF", "CBV"]),
        ("MTR", ["MTT"]),
        *((name, []) for name in (*KINDS, "adc_2", "rTmax", "trace", "T1rho", "PD", "CT", "ASL", "b0", "scan_1", "T3")),
    ],
)
def test_what_a_name_may_have_been_meant_for(name, near):
    assert near_kinds(name) == near
