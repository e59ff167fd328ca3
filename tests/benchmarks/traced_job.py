"""One job, traced: how many of our own functions and files it enters, and how often.

    python -m tests.benchmarks.traced_job

Counts calls, not seconds: the same on any machine. Only the executor's part is counted, from
the push to its answer, on embedded adapters.
"""

import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from infra.local.gemini import create_app
from infra.local.processes.functions import function_environ
from infra.local.serving.asgi import serve
from tests.support.model_stage import Stage, seeds

_ROOT = Path(__file__).parents[2]
_OURS = ("executor/", "shared/")
#: Decisions and parsings that one job should make once each.
_ONCE = (
    "parse_push",
    "decode_job_message",
    "decide",
    "accounting",
    "parse_flow_run",
    "nothing_to_work_on",
    "is_at_work",
    "parse_job_record",
)


def main() -> None:
    """Print the counts as a Markdown table."""
    with tempfile.TemporaryDirectory() as folder:
        calls = asyncio.run(_traced(Path(folder)))
    visits = Counter[str]()
    for (_, name), number in calls.items():
        visits[name] += number
    rows = [
        ("calls of our own functions", calls.total()),
        ("different functions", len(calls)),
        ("files entered", len({file for file, _ in calls})),
        *((f"visits of `{name}`", visits[name]) for name in _ONCE),
    ]
    print("\n".join(f"| {what} | {number} |" for what, number in rows))  # noqa: T201


async def _traced(folder: Path) -> Counter[tuple[str, str]]:
    async with serve(create_app(), name="Gemini stand-in") as url:
        stage = Stage(folder, function_environ("test", url), seeds())
        async with stage.environment:
            await stage.claim()
            calls: Counter[tuple[str, str]] = Counter()

            def count(frame: FrameType, event: str, _argument: Any) -> None:
                code = frame.f_code
                file = code.co_filename.removeprefix(f"{_ROOT}/")
                if event == "call" and file.startswith(_OURS) and code.co_name[0] != "<":
                    calls[file, code.co_name] += 1

            sys.setprofile(count)
            try:
                await stage.deliver_until_closed()
            finally:
                sys.setprofile(None)
            return calls


if __name__ == "__main__":
    main()
