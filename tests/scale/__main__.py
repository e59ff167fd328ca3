"""`make scale`: what a thousand steps a second would ask of the cloud, counted."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.scale.measures import Swept, ends_of_one_run, sweep_due, sweep_runs
from tests.scale.rows import Found, Row, counted, ends_row, sweep_rows

#: Steps a second, and for how many virtual seconds: minutes of processor time for the last.
_USUAL: Mapping[int, int] = {10: 600, 100: 60, 1_000: 60}
#: In less, a process does not learn which of its steps end early.
_LEARNING_SECONDS = 40
_RUNS, _DUE, _MOST_SWEEPS, _ENDS = 20_000, 100_000, 10, 50


def say(line: object) -> None:
    """Print a line at once, but where figures alone are wanted."""
    if not os.environ.get("JSON"):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _found(workers: ProcessPoolExecutor, arguments: argparse.Namespace) -> Iterator[Found]:
    share, alone = 20 if arguments.small else 1, arguments.rate
    usual = [rate for rate in _USUAL if not arguments.small or rate < max(_USUAL)]
    loads = {
        rate: arguments.seconds or max(_LEARNING_SECONDS, _USUAL[rate] // share)
        for rate in ([alone] if alone else usual)
    }
    if alone:
        yield counted(alone, loads[alone])
        return
    loading = [workers.submit(counted, rate, seconds) for rate, seconds in loads.items()]
    due = workers.submit(sweep_due, _DUE // share, most=_MOST_SWEEPS)
    runs = workers.submit(sweep_runs, _RUNS // share)
    ends = workers.submit(ends_of_one_run, _ENDS)
    for each in loading:
        yield each.result()
    swept: Swept = runs.result()
    yield f"{swept.documents} running runs", swept.as_json(), sweep_rows(swept)
    drained: Swept = due.result()
    yield f"{drained.documents} due jobs", drained.as_json(), sweep_rows(drained)
    commits = ends.result()
    yield f"{_ENDS} ends of one run", {"commitsAStep": commits}, [ends_row(commits)]


def main() -> int:
    """Count; 1 when a row is not reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("--seconds", type=int, help="virtual seconds of every load")
    parser.add_argument("--small", action="store_true", help="less of everything")
    parser.add_argument(
        "--rate", type=int, choices=_USUAL, help="this many steps a second, and nothing else"
    )
    arguments = parser.parse_args()
    figures: dict[str, object] = {}
    missed: list[Row] = []
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as workers:
        for name, found, rows in _found(workers, arguments):
            figures[name] = {"counted": found, "rows": [row.as_json() for row in rows]}
            for row in rows:
                say(f"{name}: {row}")
            missed += [row for row in rows if not row.reached]
    if os.environ.get("JSON"):
        sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
