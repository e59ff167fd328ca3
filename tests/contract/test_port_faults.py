"""Whatever an adapter meets becomes an outcome of its port, within the time it was given."""

import asyncio

import pytest

from tests.support.machine_time import GRACE
from tests.support.port_operations import met
from tests.tables.port_faults import PORTS, TABLE, Cell, Fault, Operation
from tests.tables.port_faults_page import PAGE, page

SECONDS = 0.6
#: Much more time than is needed by what ends at once, however busy the machine is.
LONG_SECONDS = 60.0
SOON_SECONDS = 20.0


@pytest.fixture(scope="module", autouse=True)
def first_uses() -> None:
    """Use the client libraries once: they load parts of themselves at their first use."""

    async def once() -> None:
        for operation in (Operation.STAT, Operation.GENERATE, Operation.BEGIN):
            await met(operation, Fault.FORBIDDEN, LONG_SECONDS)

    asyncio.run(once())


@pytest.mark.parametrize(
    ("fault", "operation", "cell"),
    [
        pytest.param(fault, operation, cell, id=f"{operation} - {fault.name}")
        for fault, row in TABLE.items()
        for operation, cell in row.items()
    ],
)
async def test_whatever_an_adapter_meets(
    fault: Fault, operation: Operation, cell: Cell
) -> None:
    given = LONG_SECONDS if cell.at_once else SECONDS
    outcome, seconds = await met(operation, fault, given)

    assert outcome is cell.outcome
    assert seconds < (SOON_SECONDS if cell.at_once else SECONDS + GRACE)


def test_every_operation_is_a_port_s_and_has_a_cell_for_every_fault_that_can_befall_it() -> (
    None
):
    listed = [operation for operations in PORTS.values() for operation in operations]

    assert sorted(listed) == sorted(Operation)
    assert set(TABLE) == set(Fault)
    for operation in Operation:
        without = {fault for fault, row in TABLE.items() if operation not in row}
        assert without <= {Fault.DRIP, Fault.HALF}


def test_the_table_of_the_docs_is_this_one() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert text == page(text), "run `make docs-generated`"
