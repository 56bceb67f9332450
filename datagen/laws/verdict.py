"""What a law says about each of its answers: a code with a sentence."""

from __future__ import annotations

from enum import IntEnum


class Verdict(IntEnum):
    """0 is good; 1 to 9: the answer stands, with a warning; from 10 on there is no answer and the numbers are nan.

    When several apply to one point the largest code is reported.
    """

    GOOD = 0
    OUTSIDE_RANGE = 1
    UNSTABLE = 2
    PHONON_UNSTABLE = 3
    ELASTICALLY_UNSTABLE = 4
    LEFT_BRANCH = 5
    NOT_CONVERGED = 10
    INVERTED = 11
    NOT_FINITE = 12
    UNSUPPORTED = 13
    CRUSHED = 14

    @property
    def sentence(self) -> str:
        """What it means and what to do."""
        return _SENTENCES[self]

    @property
    def has_answer(self) -> bool:
        """Whether the numbers that come with this verdict may be used."""
        return self < FIRST_WITHOUT_ANSWER


FIRST_WITHOUT_ANSWER = 10

_SENTENCES = {
    Verdict.GOOD: "The answer is good.",
    Verdict.OUTSIDE_RANGE: (
        "The strain lies outside the range the law was trained on; check the answer against the law it learned, "
        "or retrain on a larger range."
    ),
    Verdict.UNSTABLE: (
        "The solver met negative curvature on its way, so the state it found need not be the only one; take smaller "
        "load steps to follow one branch."
    ),
    Verdict.PHONON_UNSTABLE: (
        "A vibration of the lattice has a negative squared frequency, so a perfect crystal would leave this state for "
        "one of another period; the wave vector says which. Stay below this strain, or take a larger cell."
    ),
    Verdict.ELASTICALLY_UNSTABLE: (
        "The lattice has lost ellipticity: long waves across the normal that is given grow, and the strain would "
        "localise in bands; stay below this strain."
    ),
    Verdict.LEFT_BRANCH: (
        "The atoms left their branch of equilibria within the step and fell into another valley; the energy they lost "
        "is recorded as dissipation. Take smaller steps of strain to see where, a finer resolution to see how much."
    ),
    Verdict.NOT_CONVERGED: "The solver did not converge; take smaller load steps or loosen the tolerance.",
    Verdict.INVERTED: "The deformation folds the material over (det F <= 0); reduce the strain.",
    Verdict.NOT_FINITE: "The strain or the state handed to the law is not a finite number; look at what called it.",
    Verdict.UNSUPPORTED: (
        "The boundary of the cell runs through a void, which bears no traction, so uniform traction has no answer; use "
        "periodic or linear displacement boundary conditions."
    ),
    Verdict.CRUSHED: (
        "The lattice is compressed below a fifth of its length in some direction, where no potential holds and its "
        "neighbours are too many to sum; reduce the strain."
    ),
}
