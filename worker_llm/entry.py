"""The program `worker-llm`, wherever it is installed.

An installation keeps the project's packages in a folder of its own, so that names such as
`infra` and `shared` do not stand on anybody's import path; the program alone puts the folder
on its path. In a checkout there is no such folder: the packages lie beside this one.
"""

import sys
from pathlib import Path

_PACKAGES = Path(__file__).parent / "packages"


def main() -> None:
    """Run the command line."""
    if _PACKAGES.is_dir():
        sys.path.insert(0, str(_PACKAGES))
    # Late: only now the packages can be found.
    from infra.ops.main import main as run  # noqa: PLC0415

    run()
