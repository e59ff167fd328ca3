"""The structure of the code: what each folder holds, how long parts are, where parts meet."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
PRODUCT = ("dispatcher", "executor", "infra", "shared")
_MOST_FILE_LINES = 250
_MOST_FUNCTION_LINES = 45
#: Each folder, and how many modules may lie in it beside its packages.
_MOST_MODULES = {"executor": 9, "infra/ops": 2, "infra/local": 8, "tests": 1}
#: Files that are longer than a file should be, and why each is one file all the same.
LONG_FILES: Mapping[str, str] = {
    "dispatcher/planning.py": "every rule of what a change makes executable",
    "dispatcher/sweep_jobs.py": "one pass over due jobs, whose steps share their bounds",
    "executor/adapters/interactions.py": "one API's four requests, each with its answers",
    "executor/billing/day.py": "the slices of one day's ceiling, read and written in one place",
    "executor/jobs/lease.py": "the lease, and the guarded writes of its holder",
    "executor/ports.py": "every port of one stage, with what goes through it",
    "executor/service.py": "the list of the ports stands beside the use case",
    "executor/settings.py": "every setting of one function, read and checked in one place",
    "infra/docs/json_shapes.py": "one table: the stated shape of every command's output",
    "infra/local/embedded/documents.py": "rules of Firestore in memory, one set",
    "infra/local/emulators/relay.py": "one state machine, whose parts mean nothing apart",
    "infra/local/gemini/interactions.py": "one resource of the provider, with all its states",
    "infra/local/storage/objects.py": "one lock guards all of it",
    "infra/ops/bootstrap/plan.py": "one list of preparations, in their order",
    "infra/ops/dead_letters/commands.py": "how each command prints; the rules are elsewhere",
    "infra/ops/doctor/cloud.py": "one reader for each kind of resource",
    "infra/ops/environment/listing.py": "each query twice: on Firestore and embedded",
    "infra/ops/evaluation/cases/pinning.py": "one past step, pinned from its run to its bytes",
    "infra/ops/evaluation/cli.py": "options and their help, no logic",
    "infra/ops/evaluation/trial.py": "the evaluation of one case, and how it prints",
    "infra/ops/runs/diagnosis.py": "one rule a case, in the order in which they are tried",
    "infra/ops/runs/finding.py": "one condition for each field by which runs are found",
    "infra/ops/runs/job_view.py": "what is shown of a job record, field by field",
    "infra/ops/runs/view.py": "what is shown of a run and its steps, field by field",
    "shared/adapters/firestore.py": "the ports of one database, one call each",
    "shared/domain/errors.py": "one tree of errors, drawn at its top; half of it is advice",
    "shared/domain/job_documents.py": "each field of the record, written and read side by side",
    "shared/domain/jobs.py": "the job record beside its table of transitions",
    "shared/domain/pacing.py": "one state and its moves",
    "shared/log.py": "the names of log events are two thirds of it",
}
#: Functions that are longer than a function should be, and why each is one all the same.
LONG_FUNCTIONS: Mapping[str, str] = {
    "dispatcher/refusing.py refuse": "its docstring names each argument",
    "dispatcher/sweep_jobs.py _resolve": "commit and read back of one guarded loop",
    "executor/wiring.py assemble": "names every collaborator once, and decides nothing",
    "infra/local/emulated.py emulated": "starts the parts in their order, and decides nothing",
    "infra/ops/bootstrap/plan.py _of_github": "one list of preparations",
    "infra/ops/console/app.py create_app": "one route a line",
    "infra/ops/dead_letters/cli.py replay": "options and their help, no logic",
    "infra/ops/evaluation/asking/proof.py inputs_of": "one proof, done in order",
    "infra/ops/evaluation/cli.py evaluate": "options and their help, no logic",
    "infra/ops/evaluation/cli.py watch": "options and their help, no logic",
    "infra/ops/registry/cli.py registry_app": "declares the commands of one registry",
    "infra/ops/reports/candles.py picture_of": "one drawing, from the axes to the levels",
    "infra/ops/steps/acts.py plan_act": "one row for each state that an act can meet",
    "infra/ops/steps/cli.py _act_on_all": "options and their help, no logic",
    "infra/ops/steps/cli.py act_on_all": "the same: the function that it declares",
}
#: The only places where each object graph is composed.
_COMPOSED_IN = {
    "Executor": {"executor/wiring.py"},
    "Dispatcher": {"dispatcher/wiring.py"},
    "Sweep": {"dispatcher/wiring.py"},
}


def modules(*roots: str) -> Iterator[tuple[str, ast.Module, str]]:
    for root in roots:
        for path in sorted((_ROOT / root).rglob("*.py")):
            text = path.read_text()
            yield str(path.relative_to(_ROOT)), ast.parse(text), text


@pytest.mark.parametrize("folder", _MOST_MODULES)
def test_few_modules_lie_beside_the_packages(folder: str) -> None:
    found = sorted(path.name for path in (_ROOT / folder).glob("*.py"))

    assert len(found) <= _MOST_MODULES[folder], found


def test_a_file_is_short_or_its_length_is_argued() -> None:
    lengths = {name: text.count("\n") for name, _, text in modules(*PRODUCT)}
    too_long = {name for name, lines in lengths.items() if lines > _MOST_FILE_LINES}

    assert too_long == set(LONG_FILES)


def test_a_function_is_short_or_its_length_is_argued() -> None:
    too_long = {
        f"{name} {node.name}"
        for name, tree, _ in modules(*PRODUCT)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > _MOST_FUNCTION_LINES
    }

    assert too_long == set(LONG_FUNCTIONS)


def test_a_public_class_has_its_name_for_itself() -> None:
    places = defaultdict(list)
    for name, tree, _ in modules(*PRODUCT):
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)

    assert {name: where for name, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize("service", _COMPOSED_IN)
def test_a_service_is_composed_in_one_place(service: str) -> None:
    made_in = [
        name
        for name, tree, _ in modules(*PRODUCT)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == service
    ]

    assert made_in == sorted(_COMPOSED_IN[service])


def test_no_property_composes_collaborators() -> None:
    """A use case holds its collaborators as fields."""
    stages = list(modules("dispatcher", "executor"))
    services = {
        node.name
        for _, tree, _ in stages
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(isinstance(each, ast.AsyncFunctionDef) for each in node.body)
    }
    composing = {
        f"{name} {node.name}"
        for name, tree, _ in stages
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and any(
            isinstance(each, ast.Name) and each.id == "property" for each in node.decorator_list
        )
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in services
    }

    assert composing == set()


def test_no_unit_test_starts_a_process() -> None:
    starters = {"subprocess", "multiprocessing", "infra.local.processes.children"}
    found = {
        name
        for name, tree, _ in modules("tests/unit")
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and {each.name for each in node.names} & starters)
        or (isinstance(node, ast.ImportFrom) and node.module in starters)
    }

    assert found == set()
