"""What the arguments and the names of files tell is told before torch is loaded: within a second, not after fifteen."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from nnunet_mgcl.cli import main
try:
    main(sys.argv[1:])
finally:
    print("torch" in sys.modules)
"""


@pytest.fixture
def refused(tmp_path):
    def refused(*words: str) -> str:
        done = subprocess.run([sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "False\n"), done.stderr
        return done.stderr

    return refused


@pytest.mark.parametrize(("output", "part"), [("out", "no image, but patient.mha"), ("scans", "change -o")])
def test_prediction_of_scans_that_are_not_converted_or_into_the_images(refused, make_run, tmp_path, output, part):
    model = make_run()
    (model / "fold_0" / "checkpoint_final.pth").touch()
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "patient.mha").touch()
    assert part in refused("predict", "-i", "scans", "-o", output, "-m", str(model), "-f", "0")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--case", "x", "-f", "0", "-i", ".", "-s", "."], "leave -f out"),
        (["--case", "x", "-i", "."], "one of --case, -i and -s is missing"),
        (["--case", "a/b"], "no name of a case"),
    ],
)
def test_report_whose_arguments_do_not_go_together(refused, words, parts) -> None:
    assert parts in refused("report", "-d", "901", "-c", "2d", *words)
