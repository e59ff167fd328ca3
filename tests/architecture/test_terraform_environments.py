"""An environment passes every variable of the module on, so that nobody edits its files."""

import hcl2
import pytest

from tests.support.terraform_module import ROOT

_ENVIRONMENTS = ROOT / "infra/terraform/environments"
#: The variables that the folder itself sets.
_OWN = {"environment", "bundles"}
_EVERY = pytest.mark.parametrize("name", ["dev", "staging", "prod"])


def declared(folder: str) -> set[str]:
    """The variables of a folder."""
    files = (ROOT / "infra/terraform" / folder).glob("variables*.tf")
    return {
        name.strip('"')
        for file in files
        for block in hcl2.loads(file.read_text()).get("variable", ())
        for name in block
    }


@_EVERY
def test_every_variable_of_the_module_can_be_set_in_the_environment(name: str) -> None:
    (call,) = hcl2.loads((_ENVIRONMENTS / name / "main.tf").read_text())["module"]
    (passed,) = call.values()
    wanted = declared("modules/worker")

    assert wanted - set(passed) == set()
    assert wanted - _OWN - declared(f"environments/{name}") == set()
    for variable in wanted - _OWN:
        assert f"var.{variable}" in str(passed[variable])
