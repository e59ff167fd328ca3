"""What a judge said of pairs of reports, and how far its verdicts follow the order. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Better(StrEnum):
    """Which of two reports a judge would rather have."""

    FIRST = "FIRST"
    SECOND = "SECOND"
    EQUAL = "EQUAL"


_OF_THE_LATER = {Better.FIRST: 0.0, Better.EQUAL: 0.5, Better.SECOND: 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """What the judge said of one case; None where it gave no verdict."""

    baseline_first: Better | None
    candidate_first: Better | None
    #: Why, in the judge's own words, in the same order.
    reasons: Sequence[str] = ()
    #: Why there is no verdict.
    problem: str | None = None

    @property
    def score(self) -> float | None:
        """How far the candidate is preferred: 0 not at all, 0.5 as much as the baseline, 1.

        The mean of both orders: a judge that goes by the order alone gives 0.5.
        """
        if self.baseline_first is None or self.candidate_first is None:
            return None
        return (
            _OF_THE_LATER[self.baseline_first] + 1 - _OF_THE_LATER[self.candidate_first]
        ) / 2

    @property
    def follows_order(self) -> bool:
        """Whether the same place won in both orders, with the other report in it."""
        return self.baseline_first == self.candidate_first in {Better.FIRST, Better.SECOND}


#: Two reports that are the same are equal without a question.
SAME = Preference(baseline_first=Better.EQUAL, candidate_first=Better.EQUAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeFindings:
    """All that a judge said."""

    model: str
    #: By candidate and case.
    preferences: Mapping[str, Mapping[str, Preference]]
    #: Models of its own family, whose reports it judged.
    relatives: Sequence[str] = field(default_factory=tuple)

    def scores(self, candidate: str) -> Mapping[str, float]:
        """By case: how far the candidate is preferred."""
        found = self.preferences.get(candidate, {})
        return {
            case_id: score
            for case_id, each in found.items()
            if (score := each.score) is not None
        }

    def follows_order(self, candidate: str) -> int:
        """In how many cases the same place won twice."""
        return sum(each.follows_order for each in self.preferences.get(candidate, {}).values())

    def problem(self, candidate: str) -> str | None:
        """Why a verdict is missing, of one case for all."""
        found = self.preferences.get(candidate, {}).values()
        return next((each.problem for each in found if each.problem), None)

    def first_share(self, candidate: str) -> float | None:
        """Of the verdicts that prefer a report: how many prefer the one that came first."""
        said = [
            better
            for each in self.preferences.get(candidate, {}).values()
            for better in (each.baseline_first, each.candidate_first)
            if better in {Better.FIRST, Better.SECOND}
        ]
        return sum(better is Better.FIRST for better in said) / len(said) if said else None


def relatives_of(model: str, others: Iterable[str]) -> Sequence[str]:
    """The models whose names begin with the same word, such as `gemini`."""
    return sorted({other for other in others if _family(other) == _family(model)})


def _family(model: str) -> str:
    return model.rpartition("/")[2].partition("-")[0]
