"""Least privilege: the reference in docs/reference/iam.md and the Terraform say the same."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from tests.support.terraform_module import ROOT, resources, source_files, unquoted

_REFERENCE = ROOT / "docs/reference/iam.md"
_IAM = re.compile(r"_iam_(member|binding|policy)\.")
_BASIC = {"roles/owner", "roles/editor", "roles/viewer", "roles/browser"}
#: Services that bind roles on the project and at no lower level.
_ON_THE_PROJECT_ONLY = {
    "roles/eventarc.eventReceiver",
    "roles/SERVICE.serviceAgent",
    "roles/logging.logWriter",
    "roles/telemetry.tracesWriter",
}
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the reference."""

    section: str
    made_in: str
    permissions: frozenset[str]
    role: str
    binding: str


def rows() -> list[Row]:
    found, section = [], ""
    for line in _REFERENCE.read_text().splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 6 and "`" in cells[5]:
            found.append(
                Row(
                    section=section,
                    made_in=cells[1].strip("`"),
                    permissions=frozenset(_CODE.findall(cells[2])),
                    role=cells[3].strip("`"),
                    binding=cells[5].strip("`"),
                )
            )
    return found


def bindings() -> Mapping[str, Mapping[str, object]]:
    return {name: body for name, body in resources().items() if _IAM.search(name)}


def role_of(binding: Mapping[str, object]) -> str:
    """The name of the role; for a custom role, the id that its resource gives it."""
    role = str(unquoted(binding["role"]))
    custom = re.search(r"google_project_iam_custom_role\.(\w+)", role)
    if custom is None:
        return role.replace("${each.key}", "SERVICE")
    address = f"google_project_iam_custom_role.{custom[1]}"
    return str(unquoted(resources()[address]["role_id"]))


def test_every_binding_has_its_row_and_every_row_its_binding() -> None:
    assert {row.binding for row in rows()} == set(bindings())


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.binding)
def test_a_row_names_the_bindings_role_and_where_the_call_is_made(row: Row) -> None:
    assert row.role == role_of(bindings()[row.binding])
    assert (ROOT / row.made_in).is_file() or not row.made_in.endswith(".py")


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.binding)
def test_a_row_stands_under_the_identity_that_is_bound(row: Row) -> None:
    body = bindings()[row.binding]
    member = str(body.get("member") or body["members"])
    accounts = re.findall(r"google_service_account\.(\w+)(?:\[0\])?\.member", member)
    wanted = re.search(r"\(`llm-(\w+)`\)", row.section)

    if wanted:
        assert accounts == [wanted[1]]
    elif row.section == "Tracing":
        each = str(body["for_each"])
        functions = {"dispatcher", "executor", "sweep"}
        assert set(re.findall(r"google_service_account\.(\w+)\.member", each)) == functions
    elif row.section == "People":
        assert member == "${each.key}"
        assert re.search(r"^\$\{.*var\.people\.\w+\}$", str(body["for_each"]))
    elif row.section == "Agents that encrypt":
        assert member == "${each.value}"
    elif row.section == "Agents that serve":
        assert member == "${google_project_service_identity.agent[each.key].member}"
    elif "agent" in row.section:
        (service,) = re.findall(r'identity\.agent\[\\*"(\w+)\\*"\]\.member', member)
        assert service == row.made_in.lower().replace("/", "").replace(" ", "")
    elif row.binding.endswith(".notify_invokers"):
        assert "allUsers" in member
    else:
        assert accounts[0] in {"push", "scheduler"}


def test_a_custom_role_has_the_permissions_of_its_rows_and_no_other() -> None:
    needed: dict[str, set[str]] = defaultdict(set)
    for row in rows():
        needed[row.role] |= row.permissions
    given = {
        unquoted(body["role_id"]): {unquoted(name) for name in body["permissions"]}
        for address, body in resources().items()
        if address.startswith("google_project_iam_custom_role.")
    }

    assert given == {role: needed[role] for role in given}
    assert not [name for names in given.values() for name in names if "delete" in name]


def test_no_role_is_basic_and_everybody_may_call_one_function_where_it_is_wanted() -> None:
    text = "".join(path.read_text() for path in source_files())
    public = {name for name, body in bindings().items() if "allUsers" in str(body)}

    assert {role_of(body) for body in bindings().values()} & _BASIC == set()
    assert public == {"google_cloud_run_v2_service_iam_binding.notify_invokers"}
    assert "var.notify.enabled" in str(bindings()[public.pop()]["count"])
    assert len(re.findall(r"allUsers", text)) == 1
    assert not re.search(r"allAuthenticatedUsers|domain:", text)


def test_a_role_on_the_project_is_custom_conditioned_or_exists_nowhere_smaller() -> None:
    wide = {
        name: role_of(body)
        for name, body in bindings().items()
        if name.startswith("google_project_iam_") and not body.get("condition")
    }

    assert set(wide.values()) - _ON_THE_PROJECT_ONLY == {"llmWorkerModel"}


def test_only_a_functions_callers_are_set_authoritatively() -> None:
    """An authoritative setting elsewhere would remove what others in the project have."""
    authoritative = {name for name in bindings() if "_iam_member." not in name}

    kind = "google_cloud_run_v2_service_iam_binding"
    callers = ("dispatcher_invokers", "executor_invokers", "notify_invokers", "sweep_invokers")
    assert authoritative == {f"{kind}.{name}" for name in callers}


def test_no_identity_is_named_by_a_string() -> None:
    """A grant to an identity that does not exist yet is refused, so each is a resource."""
    named = [p.name for p in source_files() if "gserviceaccount.com" in p.read_text()]

    assert named == []


def test_only_the_executor_reads_the_secret_or_touches_objects_of_the_worker() -> None:
    def bound(prefix: str) -> set[str]:
        return {
            str(body["member"]) for name, body in bindings().items() if name.startswith(prefix)
        }

    executor = "${google_service_account.executor.member}"
    build = "${google_service_account.build.member}"
    notify = "${google_service_account.notify[0].member}"
    operators, rotators = "${each.key}", "${each.key}"
    assert bound("google_secret_manager_secret_iam_member.") == {executor, notify, rotators}
    assert bound("google_storage_bucket_iam_member.") == {executor, build, operators}


def test_every_binding_says_why() -> None:
    silent = [
        f"{path.name}: {match[1]}"
        for path in source_files()
        for match in re.finditer(
            r'(?<!\n)\n\n(resource "google_\w+_iam_\w+" "\w+")', path.read_text()
        )
    ]

    assert silent == []
