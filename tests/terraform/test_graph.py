"""Nothing is used before Google Cloud can have it ready, by the graph of `terraform graph`.

It needs Terraform and the providers (a failure, not a skip, when CI is set).
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.terraform_graph import Graph, Kind, findings, parsed

_TERRAFORM = Path(__file__).parents[2] / "infra/terraform"
_ROOTS = ("modules/worker", *(f"environments/{name}" for name in ("dev", "staging", "prod")))
_EVERY_ROOT = pytest.mark.parametrize("root", _ROOTS)
_SECONDS = 120


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Graph]:
    """The graph of the module and of each environment, made in a copy."""
    copy = tmp_path_factory.mktemp("terraform") / "copy"
    shutil.copytree(_TERRAFORM, copy, ignore=shutil.ignore_patterns(".terraform*"))
    return {root: _graph(copy / root) for root in _ROOTS}


def _graph(folder: Path) -> Graph:
    # The graph is the same without it, and it would ask for a bucket.
    (folder / "backend.tf").unlink(missing_ok=True)
    _run(folder, "init", "-backend=false", "-input=false", "-no-color")
    return parsed(_run(folder, "graph"))


def _run(folder: Path, *arguments: str) -> str:
    program = shutil.which("terraform")
    if program is None:
        return _impossible("there is no terraform on the PATH")
    done = subprocess.run(
        [program, *arguments],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    return _impossible(done.stderr) if done.returncode else done.stdout


def _impossible(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@_EVERY_ROOT
@pytest.mark.parametrize("kind", Kind)
def test_nothing_is_used_before_it_is_there(
    graphs: Mapping[str, Graph], root: str, kind: Kind
) -> None:
    found = [finding for finding in findings(graphs[root]) if finding.kind is kind]

    assert found == []


@_EVERY_ROOT
def test_alerts_wait_for_no_function(graphs: Mapping[str, Graph], root: str) -> None:
    """An apply that fails half-way is watched all the same."""
    graph = graphs[root]

    alerts = graph.resources("google_monitoring_alert_policy.")
    assert alerts != []
    for alert in alerts:
        assert not {node for node in graph.reach(alert) if "function" in node}


@_EVERY_ROOT
def test_an_environment_has_all_that_the_module_has(
    graphs: Mapping[str, Graph], root: str
) -> None:
    assert graphs[root].resources() == graphs["modules/worker"].resources()


@pytest.mark.parametrize("kind", Kind)
def test_a_module_without_waits_is_found_out(kind: Kind) -> None:
    """The graph of the module as it was before it waited for anything."""
    graph = parsed((Path(__file__).parent / "graph_without_waits.dot").read_text())

    assert [finding for finding in findings(graph) if finding.kind is kind]


def test_each_missing_wait_is_found_out(graphs: Mapping[str, Graph]) -> None:
    """Taken out of the graph one by one, each wait is missed."""
    graph = graphs["modules/worker"]

    for wait in graph.resources("time_sleep."):
        bypassed = {
            node: frozenset().union(*(graph.edges[e] if e == wait else {e} for e in ends))
            for node, ends in graph.edges.items()
        }
        assert findings(Graph(edges=bypassed)), wait
