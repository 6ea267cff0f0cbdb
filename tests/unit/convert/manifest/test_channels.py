from __future__ import annotations

import pytest

from nnunet_mgcl.convert.manifest.channels import KINDS, guess_kind, is_adc, is_dwi, is_perfusion, leader, near_kinds


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ADC", "ADC"),
        ("adc_map", "ADC"),
        ("dwi_adc", "ADC"),
        ("ep2d_diff_3scan_trace_p2_ADC", "ADC"),
        ("Apparent Diffusion Coefficient (mm2/s)", "ADC"),
        ("eADC", None),
        ("Exponential Apparent Diffusion Coefficient", "DWI"),
        ("headcoil", None),
        ("DWI", "DWI"),
        ("sub-01_dwi", "DWI"),
        ("ep2d_diff_TRACEW", "DWI"),
        ("b1000", "DWI"),
        ("difficult", None),
        ("FLAIR", "FLAIR"),
        ("t2_flair_tra", "FLAIR"),
        ("t2_tirm_tra_dark-fluid", "FLAIR"),
        ("rTMAX", "Tmax"),
        ("RAPID Tmax [s]", "Tmax"),
        ("rCBF", "CBF"),
        ("relCBV", None),
        ("CBV_map", "CBV"),
        ("MTT", "MTT"),
        ("TTP", "TTP"),
        ("PWI", "PWI"),
        ("ep2d_perf", "PWI"),
        ("T2w", "T2"),
        ("t2_tse_tra", "T2"),
        ("T2*", "T2star"),
        ("SWI_Images", "T2star"),
        ("T1w", "T1"),
        ("T1pre_reg", "T1"),
        ("T1c", "T1c"),
        ("T1CE", "T1c"),
        ("t1_post_contrast", "T1c"),
        ("T1w_Gd", "T1c"),
        ("localizer", None),
        ("", None),
    ],
)
def test_kind_of_a_name(name, kind):
    assert guess_kind(name) == kind


def test_every_kind_names_itself():
    assert [guess_kind(kind) for kind in KINDS] == list(KINDS)
    assert [guess_kind(kind.lower()) for kind in KINDS] == list(KINDS)


def test_kinds_of_channels():
    assert is_adc("Adc") and not is_adc("DWI")
    assert is_dwi("dwi_b1000") and not is_dwi("ADC") and not is_dwi("FLAIR")
    assert is_perfusion("Tmax") and is_perfusion("rCBF") and not is_perfusion("FLAIR")


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
