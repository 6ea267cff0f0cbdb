"""One synthetic patient: head, tissue clock and stroke; and how the patient lies in a scanner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnunet_mgcl.phantom.brain.anatomy import Head, draw_head
from nnunet_mgcl.phantom.brain.scan import Grid, Pose
from nnunet_mgcl.phantom.cases import Case
from nnunet_mgcl.phantom.options import PhantomOptions
from nnunet_mgcl.phantom.scanner.scene import Scene, set_scene
from nnunet_mgcl.phantom.stroke.clock import TissueClock, draw_clock
from nnunet_mgcl.phantom.stroke.distractors import Distractors, draw_distractors
from nnunet_mgcl.phantom.stroke.growth import Stroke, draw_stroke
from nnunet_mgcl.phantom.stroke.lesion_masks import LesionMasks

# How heads lie: standard deviations in degrees and mm, of patients and of one patient from scan to scan. Chosen.
LYING = (4.0, 3.0)
MOVING = (2.0, 2.0)


@dataclass(frozen=True)
class Patient:
    """A synthetic patient; `stroke` is None where none is in view."""

    head: Head
    pose: Pose
    clock: TissueClock
    stroke: Stroke | None
    distractors: Distractors

    def scene(self, grid: Grid, pose: Pose | None = None) -> Scene:
        """The patient in a scanner with this grid, lying as ever or in another pose."""
        anatomy = self.head.sample(grid, pose or self.pose)
        stroke = self.stroke.sample(anatomy) if self.stroke else None
        return set_scene(anatomy, self.distractors.sample(anatomy), stroke, self.clock)

    def moved(self, rng: np.random.Generator) -> Pose:
        """Another pose, after the patient has moved."""
        degrees, mm = MOVING
        rotation = np.add(self.pose.rotation, rng.normal(0.0, degrees, size=3))
        return Pose(rotation, np.add(self.pose.shift, rng.normal(0.0, mm, size=3)))


def draw_patient(case: Case, options: PhantomOptions, masks: LesionMasks | None = None) -> Patient:
    """Draws the patient of a case; the shape of the stroke comes from `masks` where they are given."""
    rng = case.rng(options, "head")
    head, pose = draw_head(rng), Pose(rng.normal(0.0, LYING[0], size=3), rng.normal(0.0, LYING[1], size=3))
    clock = draw_case_clock(case, options)
    stroke = draw_case_stroke(case, clock, options, masks) if case.stroke else None
    distractors = draw_distractors(head.widening, case.rng(options, "distractors"), stroke)
    return Patient(head, pose, clock, stroke, distractors)


def draw_case_clock(case: Case, options: PhantomOptions) -> TissueClock:
    """Draws the same patient's tissue clock alone."""
    return draw_clock(case.hours, case.rng(options, "clock"))


def draw_case_stroke(
    case: Case, clock: TissueClock, options: PhantomOptions, masks: LesionMasks | None = None
) -> Stroke:
    """Draws the same patient's stroke alone."""
    return draw_stroke(clock.core_fraction, case.rng(options, "stroke"), masks)
