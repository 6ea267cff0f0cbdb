import pytest

from nnunet_mgcl.convert.output.record import CaseRecord, ChannelRecord, RegistrationRecord
from nnunet_mgcl.convert.registration.poor_fit import poor_fits


def case(name: str, **fits: float) -> CaseRecord:
    channels = {
        channel: ChannelRecord((9, 9, 9), (1.0, 1.0, 1.0), (), RegistrationRecord("FLAIR", "sitk", 0.4, fit, 1.0, 1.0))
        for channel, fit in fits.items()
    }
    return CaseRecord(name, "Tr", channels={"FLAIR": ChannelRecord((9, 9, 9), (1.0, 1.0, 1.0)), **channels})


def test_another_patients_scan_fits_worse_than_those_of_the_other_cases():
    found = poor_fits([case("a", DWI=0.9), case("b", DWI=0.84), case("c", DWI=0.59), case("d", DWI=1.0)])
    assert list(found) == ["c"]
    assert found["c"][0].startswith("DWI to FLAIR: ") and "0.590, the cases' median 0.870" in found["c"][0]


@pytest.mark.parametrize(
    "records",
    [
        [],
        [case("a", DWI=0.9), case("b", DWI=0.5)],  # which of the two is wrong?
        [case("a", DWI=0.9), case("b", DWI=0.7), case("c", DWI=0.95)],
        [case("a", DWI=0.9), case("b", Tmax=0.3), case("c", DWI=0.9), case("d", Tmax=0.3)],  # other contrasts
    ],
)
def test_what_differs_as_patients_do_raises_no_doubt(records):
    assert poor_fits(records) == {}
