"""The results of an evaluation as JSON, and the digest by which it is named. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from executor.contract.canonical import sha256_hex
from infra.ops.evaluation.asking.variants import Variant
from infra.ops.evaluation.findings.results import CaseResult, Results
from infra.ops.evaluation.findings.verdicts import MeasureVerdict
from infra.ops.evaluation.judging.preferences import JudgeFindings


def results_document(results: Results) -> Mapping[str, Any]:
    """What a program needs, and what the digest vouches for."""
    return {
        "schemaVersion": 1,
        "baseline": results.baseline.name,
        "variants": [_variant(each) for each in results.variants],
        "caseCount": len(results.cases),
        "seed": results.seed,
        "excluded": dict(results.excluded),
        "unanswered": {name: dict(whys) for name, whys in results.unanswered.items()},
        "verdicts": {
            name: [_verdict(each) for each in found] for name, found in results.verdicts.items()
        },
        "failIf": [
            {"candidate": name, "condition": each.text, "met": each in results.met[name]}
            for name in results.met
            for each in results.conditions
        ],
        "judge": results.judged and _judge(results.judged),
        "cases": [_case(each, results) for each in results.cases],
    }


def results_bytes(results: Results) -> tuple[bytes, str]:
    """The document's bytes, the same for the same results, and their SHA-256."""
    # Not RFC 8785, which refuses numbers and texts that a model may well have written.
    text = json.dumps(results_document(results), sort_keys=True, separators=(",", ":"))
    data = text.encode()
    return data, sha256_hex(data)


def _judge(judged: JudgeFindings) -> Mapping[str, Any]:
    return {
        "model": judged.model,
        "relatives": list(judged.relatives),
        "candidates": {
            name: {
                "pairs": len(found),
                "judged": len(judged.scores(name)),
                "followsOrder": judged.follows_order(name),
                "firstShare": judged.first_share(name),
            }
            for name, found in judged.preferences.items()
        },
    }


def _case(result: CaseResult, results: Results) -> Mapping[str, Any]:
    later = result.later
    return {
        "caseId": result.case.case_id,
        "symbol": result.case.symbol,
        "timeframe": result.case.timeframe,
        "inputDigest": result.case.stored.input_digest if result.case.stored else None,
        "answers": {
            name: {
                "error": answer.error_code,
                "calls": answer.calls,
                "modelVersions": list(answer.model_versions),
                "values": dict(result.values(name)),
                "problems": {
                    check: list(found)
                    for check, found in result.problems[name].items()
                    if found
                },
            }
            for name, answer in result.answers.items()
        },
        "differences": {
            each.name: [
                found.as_json()
                for found in result.differences(results.baseline.name, each.name)
            ]
            for each in results.candidates
        },
        "preferences": {
            each.name: {
                "baselineFirst": found.baseline_first,
                "candidateFirst": found.candidate_first,
                "score": found.score,
            }
            for each in results.candidates
            if (found := results.preference(each.name, result.case.case_id)) is not None
        },
        "later": later
        and {
            "candles": later.candles,
            "changePercent": later.change_percent,
            "low": later.low,
            "high": later.high,
        },
    }


def _variant(variant: Variant) -> Mapping[str, Any]:
    prompt, schema = variant.prompt, variant.schema
    return {
        "name": variant.name,
        "stored": variant.stored,
        "prompt": prompt and {"id": prompt.entry_id, "sha256": prompt.sha256},
        "schema": schema and {"id": schema.entry_id, "sha256": schema.sha256},
        "llmProfile": dict(variant.profile),
    }


def _verdict(verdict: MeasureVerdict) -> Mapping[str, Any]:
    difference = verdict.difference
    return {
        "measure": verdict.measure.name,
        "finding": str(verdict.finding),
        "baseline": verdict.baseline,
        "candidate": verdict.candidate,
        "difference": difference.mean,
        "low": difference.low,
        "high": difference.high,
        "pValue": difference.p_value,
        "cases": difference.cases,
        "neededCases": verdict.needed,
    }
