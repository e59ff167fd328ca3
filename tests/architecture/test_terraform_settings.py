"""What Terraform tells the functions is what they read."""

import re

from executor import ledger
from shared.domain import job_documents
from tests.terraform_module import MODULE, ROOT, resources

_PAGE = ROOT / "docs/reference/settings.md"
#: Read by Python itself.
_NOT_OURS = {"PYTHONUNBUFFERED"}
#: Fixed by the contract, or a secret: nobody sets them in passing.
_NEVER_FREE = {"FLOW_RUNS_COLLECTION", "GEMINI_API_KEY"}


def read_by_the_code() -> set[str]:
    """The generated reference has every variable."""
    return set(re.findall(r"^\| `([A-Z_]+)`", _PAGE.read_text(), re.MULTILINE))


def told_by_terraform() -> set[str]:
    files = ("functions", "dispatcher", "executor", "sweep")
    text = "".join((MODULE / f"{name}.tf").read_text() for name in files)
    return set(re.findall(r"\b([A-Z][A-Z_]{3,}) +=", text)) - _NOT_OURS


def managed() -> set[str]:
    """What the variable `settings` refuses."""
    text = (MODULE / "variables.tf").read_text()
    block = text[text.index('variable "settings"') :]
    return set(re.findall(r'"([A-Z_]{4,})"', block[: block.index("\n}\n")]))


def test_the_functions_read_every_variable_that_they_are_told() -> None:
    """A name with a mistake in it would be ignored without a word."""
    assert told_by_terraform() - read_by_the_code() == set()


def test_the_free_settings_cannot_undo_a_checked_one() -> None:
    assert managed() == told_by_terraform() | _NEVER_FREE


def test_every_collection_whose_documents_expire_has_its_policy() -> None:
    policies = str(resources()["google_firestore_field.expiry"]["for_each"])

    named = set(re.findall(r'"(\w+)"', policies))
    assert named == {job_documents.COLLECTION, ledger.COLLECTION}
