"""The identifiers of the contract, at their edges."""

from collections.abc import Callable

import pytest

from shared.domain.identifiers import (
    MAX_REGISTRY_ID_CHARS,
    MAX_RUN_ID_BYTES,
    MAX_STEP_ID_BYTES,
    PromptId,
    RunId,
    StepId,
    is_model_name,
    is_prompt_id,
    is_run_id,
    is_schema_id,
    is_step_id,
    is_timeframe,
    job_id,
    major_version,
    split_job_id,
)

RUN = RunId("20260105-090000_BTC-USDT_a1b")


@pytest.mark.parametrize(
    "text",
    [
        "20260105-090000_BTCUSDT_abc",
        "20260105-090000_BTC-USDT_abc123",
        "20260105-090000_A-B-C_000",
    ],
)
def test_a_run_id_of_the_contract_is_accepted(text: str) -> None:
    assert is_run_id(text)


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "",
        "20260105-090000_BTCUSDT",
        "20260105-090000_btcusdt_abc",
        "20260105-090000_BTC--USDT_abc",
        "20260105-090000_BTCUSDT_ab",
        "20260105-090000_BTCUSDT_abcdefg",
        "20260105-090000_BTCUSDT_ABC",
        "20260105-0900_BTCUSDT_abc",
        "20260105-090000_BTCUSDT_abc\n",
        "x20260105-090000_BTCUSDT_abc",
        "٢٠٢٦٠١٠٥-090000_BTCUSDT_abc",
    ],
)
def test_anything_else_is_no_run_id(value: object) -> None:
    assert not is_run_id(value)


@pytest.mark.parametrize(
    "text",
    ["a", "1d:report", "a-b_c", "Übersicht 日", "back`tick", "a\\b", "0", "~", "__a", "a__"],
)
def test_colons_dashes_and_non_ascii_are_legal_in_a_step_id(text: str) -> None:
    assert is_step_id(text)


@pytest.mark.parametrize(
    "value",
    [None, 1, "", ".", "a.b", "a/b", "a\nb", "a\x00", "a\x7f", "a\u2028b", "__id__", "\ud800"],
)
def test_what_breaks_a_path_or_a_map_key_is_no_step_id(value: object) -> None:
    assert not is_step_id(value)


def test_a_step_ids_length_is_measured_in_bytes() -> None:
    assert is_step_id("é" * (MAX_STEP_ID_BYTES // 2))
    assert not is_step_id("é" * (MAX_STEP_ID_BYTES // 2) + "e")


def test_the_longest_ids_together_still_name_a_job_record_and_fit_an_attribute() -> None:
    """What does not fit is no id: else the claim of each step beside it would be refused."""
    start = "20260105-090000_"
    longest = f"{start}{'A' * (MAX_RUN_ID_BYTES - len(start) - 4)}_abc"
    step = "é" * (MAX_STEP_ID_BYTES // 2)

    assert is_run_id(longest)
    assert is_step_id(step)
    assert len(job_id(longest, step).encode()) == 1_500
    assert max(len(longest), len(step.encode())) <= 1_024
    assert not is_run_id(longest.replace("_abc", "A_abc"))
    assert not is_run_id(f"{start}{'A' * 1_200}_abc")


@pytest.mark.parametrize("text", ["1M", "1w", "1d", "4h", "15m"])
def test_the_contracts_timeframes_are_accepted(text: str) -> None:
    assert is_timeframe(text)


@pytest.mark.parametrize("value", [None, "", "1 d", "1/d", "..", "1d\n", "x" * 17])
def test_a_timeframe_that_is_no_path_segment_is_refused(value: object) -> None:
    assert not is_timeframe(value)


@pytest.mark.parametrize(
    "tail",
    ["1M_report_v1_0", "4h_report_crypto_v2_13", "1d_reco_v1_0", "15m_report_abc123_v10_0"],
)
def test_registry_ids_of_the_contract_are_accepted(tail: str) -> None:
    assert is_prompt_id(f"llm_prompt_{tail}")
    assert is_schema_id(f"llm_schema_{tail}")


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "llm_prompt_1M_report",
        "llm_prompt_1M_report_v0_0",
        "llm_prompt_1M_report_v1_01",
        "llm_prompt_0M_report_v1_0",
        "llm_prompt_M_report_v1_0",
        "llm_prompt_1M_summary_v1_0",
        "llm_prompt_1M_report_UPPER_v1_0",
        f"llm_prompt_1M_report_{'a' * 25}_v1_0",
        "llm_schema_1M_report_v1_0",
        "llm_prompt_1M_report_v1_0/x",
        "llm_prompt_1M_report_v1_0\n",
        f"llm_prompt_1{'M' * MAX_REGISTRY_ID_CHARS}_report_v1_0",
    ],
)
def test_anything_else_is_no_prompt_id(value: object) -> None:
    assert not is_prompt_id(value)


@pytest.mark.parametrize("text", ["m", "gemini-3.5-flash", "0_x", "a" * 128])
def test_a_name_of_a_model_is_accepted(text: str) -> None:
    assert is_model_name(text)


@pytest.mark.parametrize(
    "value",
    [None, 7, "", "-a", "a b", "a/b", "a\n", "a\nb", "\na", "a\r", "a\u2028", "ü", "a" * 129],
)
def test_what_is_more_than_one_short_word_names_no_model(value: object) -> None:
    assert not is_model_name(value)


@pytest.mark.parametrize(
    ("accepts", "sound"),
    [
        (is_run_id, RUN),
        (is_step_id, "1d:report"),
        (is_timeframe, "1d"),
        (is_prompt_id, "llm_prompt_1d_report_v1_0"),
        (is_schema_id, "llm_schema_1d_report_v1_0"),
        (is_model_name, "gemini-3.5-flash"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x85", "\u2028", "\u2029"])
def test_no_identifier_has_a_line_break_at_its_end_or_within(
    accepts: Callable[[object], bool], sound: str, end: str
) -> None:
    assert accepts(sound)
    assert not accepts(sound + end)
    assert not accepts(end + sound)
    assert not accepts(sound + end + sound)


def test_the_major_version_is_read_from_the_end_of_the_id() -> None:
    assert major_version(PromptId("llm_prompt_1M_report_v12_3")) == 12
    with pytest.raises(ValueError, match="no version"):
        major_version(PromptId("llm_prompt"))


@pytest.mark.parametrize("step", ["1d:report", "a~b", "Übersicht 日"])
def test_a_job_id_leads_back_to_its_run_and_step(step: str) -> None:
    assert split_job_id(job_id(RUN, StepId(step))) == (RUN, step)
