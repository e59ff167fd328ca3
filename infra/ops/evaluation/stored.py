"""Evaluations that were made before, read from their folder by their names and nothing else."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.files import FileUnfit, read_bounded
from infra.ops.environment.stored_documents import (
    integer_at,
    map_at,
    maps_at,
    number_at,
    text_at,
)
from infra.ops.evaluation.findings.measures import CHECK_PREFIX, MEASURES, check_measure
from infra.ops.evaluation.page.words import difference_text, value_text

_NAME = re.compile(r"evaluation-(?P<digest>[0-9a-f]{12})")
_MOST_BYTES = 64 * 1024 * 1024
_MOST_LISTED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVerdict:
    """One measure of one candidate, as it is shown."""

    title: str
    #: Empty for a single check, which has none.
    finding: str
    baseline: str
    candidate: str
    difference: str
    interval: str
    cases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCase:
    """One case: what was found of each variant."""

    case_id: str
    #: By variant: an error, or what the checks say.
    problems: Mapping[str, Sequence[str]]
    #: By candidate: how many fields differ from the baseline's.
    differences: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvaluation:
    """The results of an evaluation, from a file that anybody may have written."""

    name: str
    #: Of the file as it is.
    sha256: str
    document: Mapping[str, Any]

    @property
    def whole(self) -> bool:
        """Whether the digest in the file's name is that of its content."""
        return self.name == f"evaluation-{self.sha256[:12]}"

    @property
    def baseline(self) -> str:
        """What the others are compared with."""
        return text_at(self.document, "baseline") or ""

    @property
    def case_count(self) -> int:
        """How many cases there are."""
        return integer_at(self.document, "caseCount") or 0

    @property
    def candidates(self) -> Sequence[str]:
        """What is compared with the baseline."""
        return list(map_at(self.document, "verdicts"))

    @property
    def losses(self) -> Sequence[str]:
        """The stated losses that were found, or could not be looked for."""
        stated = maps_at(self.document, "failIf")
        return [
            f"{text_at(each, 'candidate')}: {text_at(each, 'condition')}"
            for each in stated
            if each.get("met") is not False
        ]

    def worse(self, candidate: str) -> Sequence[str]:
        """The measures by which a candidate is worse."""
        return [
            each.title for each in self.verdicts(candidate) if each.finding.startswith("worse")
        ]

    def verdicts(self, candidate: str) -> Sequence[StoredVerdict]:
        """All measures of a candidate that this version knows."""
        return list(self._verdicts(candidate))

    def cases(self) -> Sequence[StoredCase]:
        """The cases in their order."""
        return [
            StoredCase(
                case_id=text_at(each, "caseId") or "",
                problems={
                    name: list(_problems(map_at(each, "answers", name)))
                    for name in map_at(each, "answers")
                },
                differences={
                    name: len(list(maps_at(map_at(each, "differences"), name)))
                    for name in map_at(each, "differences")
                },
            )
            for each in maps_at(self.document, "cases")
        ]

    def _verdicts(self, candidate: str) -> Iterator[StoredVerdict]:
        known = {measure.name: measure for measure in MEASURES}
        for each in maps_at(map_at(self.document, "verdicts"), candidate):
            name = text_at(each, "measure") or ""
            check = name.removeprefix(CHECK_PREFIX)
            measure = known.get(name) or (check_measure(check) if check != name else None)
            fields = ("baseline", "candidate", "difference", "low", "high")
            values = [
                value for field in fields if (value := number_at(each, field)) is not None
            ]
            if measure is None or len(values) != len(fields):
                continue
            before, after, difference, low, high = values
            yield StoredVerdict(
                title=measure.title,
                finding=(text_at(each, "finding") or "") if measure.judged else "",
                baseline=value_text(measure, before),
                candidate=value_text(measure, after),
                difference=difference_text(measure, difference),
                interval=f"{difference_text(measure, low)} to {difference_text(measure, high)}",
                cases=integer_at(each, "cases") or 0,
            )


def stored_evaluations(folder: Path) -> Sequence[StoredEvaluation]:
    """The evaluations in a folder, the newest hundred; those that cannot be read are not."""
    if not folder.is_dir():
        return []
    files = [each for each in folder.iterdir() if _NAME.fullmatch(each.stem) and _ours(each)]
    files.sort(key=lambda each: each.stat().st_mtime, reverse=True)
    read = (stored_evaluation(folder, each.stem) for each in files[:_MOST_LISTED])
    return [each for each in read if each is not None]


def stored_evaluation(folder: Path, name: str) -> StoredEvaluation | None:
    """The evaluation of this name; None where there is none that can be read.

    A name is `evaluation-` and twelve digits: no other leads to a file, and none out of the
    folder.
    """
    path = folder / f"{name}.json"
    if not _NAME.fullmatch(name) or not _ours(path):
        return None
    try:
        data = read_bounded(path, _MOST_BYTES)
        document = json.loads(data)
    except (OSError, FileUnfit, ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    sha256 = hashlib.sha256(data).hexdigest()
    return StoredEvaluation(name=name, sha256=sha256, document=document)


def _ours(path: Path) -> bool:
    """Whether it is a file of results, and lies in the folder itself."""
    return path.suffix == ".json" and path.is_file() and not path.is_symlink()


def _problems(answer: Mapping[str, Any]) -> Iterator[str]:
    error = text_at(answer, "error")
    if error:
        yield error
    for check, found in map_at(answer, "problems").items():
        if isinstance(found, list):
            yield from (f"{check}: {each}" for each in found)
