"""`make schedules`: every schedule within bounds, and what is broken on purpose."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.schedules.breakages import BREAKAGES
from tests.schedules.campaign import Enumerated, enumerate_scene, pool
from tests.schedules.hunt import Catch, hunted
from tests.schedules.scenes import SCENES
from tests.schedules.search import Bounds, replayed, shrunk
from tests.schedules.visited import MOST_SPENT
from tests.simulation.memory import remembered

#: All scenes: a stall and another fault may come together.
DEEP = Bounds(preemptions=1, faults=1)
#: These scenes, too: two preemptions, and a stall or another fault.
WIDE = Bounds(preemptions=2, faults=1, stalls_are_faults=True)
THOROUGH = ("step", "run")
_KEPT_IN = Path("build/schedules")


def say(line: object) -> None:
    """Print a line at once, but where figures alone are wanted."""
    if not os.environ.get("JSON"):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def show(scene: str, schedule: Sequence[str], *, shrink: bool) -> bool:
    """Print how the schedule goes; whether it keeps all promises."""
    if shrink:
        schedule = shrunk(SCENES[scene], schedule)
    with remembered(), replayed(SCENES[scene], schedule, traced=True) as execution:
        violations = execution.checker.violations or execution.finish()
        for entry in execution.world.trace:
            say(entry)
        for violation in violations:
            say(violation)
        if not violations:
            say("no promise is broken")
        command = f"python -m tests.schedules --scene {scene}"
        say(f"again: {command} --schedule '{' '.join(schedule)}'")
        return not violations


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.schedules", description=__doc__)
    parser.add_argument("--scene", choices=SCENES, help="only this one")
    parser.add_argument("--schedule", help="replay these choices and print what happens")
    few = range(MOST_SPENT + 1)
    parser.add_argument(
        "--preemptions",
        type=int,
        choices=few,
        help="at most; by default as far as is to be reached",
    )
    parser.add_argument("--faults", type=int, choices=few, default=1, help="at most")
    parser.add_argument("--stalls-are-faults", action="store_true", help="with --preemptions")
    parser.add_argument("--seconds", type=float, default=600, help="for each enumeration")
    parser.add_argument("--no-breakages", action="store_true", help="break nothing on purpose")
    parser.add_argument("--only-breakages", action="store_true", help="enumerate nothing else")
    return parser.parse_args()


def _bounds(arguments: argparse.Namespace, scene: str) -> Sequence[Bounds]:
    if arguments.preemptions is None:
        return (WIDE, DEEP) if scene in THOROUGH else (DEEP,)
    found = Bounds(
        preemptions=arguments.preemptions,
        faults=arguments.faults,
        stalls_are_faults=arguments.stalls_are_faults,
    )
    return (found,)


def _enumerations(arguments: argparse.Namespace) -> list[Enumerated]:
    found: list[Enumerated] = []
    with pool() as workers:
        for scene in [arguments.scene] if arguments.scene else SCENES:
            for bounds in _bounds(arguments, scene):
                found.append(
                    enumerate_scene(
                        workers, scene, bounds, seconds=arguments.seconds, kept_in=_KEPT_IN
                    )
                )
                say(found[-1])
                broken = found[-1].broken
                if broken is not None:
                    show(scene, broken.schedule, shrink=True)
    return found


def _catches() -> list[Catch]:
    found: list[Catch] = []
    for catch in hunted():
        found.append(catch)
        say(f"broken on purpose: {catch}")
    caught = sum(catch.schedule is not None for catch in found)
    say(f"broken on purpose: {caught} of {len(BREAKAGES)} caught by enumeration alone")
    return found


def main() -> int:
    """Run what was asked for; 1 when a promise is broken, or not all was enumerated."""
    arguments = _arguments()
    if arguments.schedule is not None:
        scene = arguments.scene or THOROUGH[0]
        return 0 if show(scene, arguments.schedule.split(), shrink=False) else 1
    enumerations = [] if arguments.only_breakages else _enumerations(arguments)
    catches = [] if arguments.no_breakages or arguments.scene else _catches()
    if os.environ.get("JSON"):
        figures = {
            "enumerations": [each.as_json() for each in enumerations],
            "breakages": [catch.as_json() for catch in catches],
        }
        sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    sound = all(each.sound for each in enumerations)
    return 0 if sound and all(catch.schedule is not None for catch in catches) else 1


if __name__ == "__main__":
    sys.exit(main())
