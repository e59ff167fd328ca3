"""The Terraform module, as its tests in Python read it."""

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hcl2

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "infra/terraform/modules/worker"
_LOCAL = re.compile(r"^\$\{local\.(\w+)\.(\w+)\}$")
_QUOTED = re.compile(r'^"(.*)"$', re.DOTALL)


@functools.cache
def resources() -> Mapping[str, Mapping[str, Any]]:
    """Every resource of the module by its address."""
    return {
        f"{unquoted(kind)}.{unquoted(name)}": body
        for resource in _blocks("resource")
        for kind, named in resource.items()
        if isinstance(named, dict)
        for name, body in named.items()
    }


@functools.cache
def local_values() -> Mapping[str, Any]:
    """Every local value of the module, unevaluated."""
    return {name: value for block in _blocks("locals") for name, value in block.items()}


def unquoted(value: Any) -> Any:
    """A literal without its quotes; a `${…}` expression as it is."""
    match = _QUOTED.match(value) if isinstance(value, str) else None
    return match[1].replace('\\"', '"') if match else value


def resolved(value: Any) -> Any:
    """A literal, or what the local value that it refers to says."""
    match = _LOCAL.match(plain := str(unquoted(value)))
    return unquoted(local_values()[match[1]][match[2]]) if match else plain


def source_files() -> Iterator[Path]:
    """The module's files."""
    return MODULE.glob("*.tf")


def _blocks(kind: str) -> Iterator[Mapping[str, Any]]:
    for path in sorted(source_files()):
        with path.open(encoding="utf-8") as file:
            yield from hcl2.load(file).get(kind, ())
