"""The page of the Terraform module's inputs and outputs, from the module itself."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hcl2

from infra.docs.markdown import page, table
from infra.local.processes.bundle import REPOSITORY

MODULE = REPOSITORY / "infra/terraform/modules/worker"
_INTRODUCTION = (
    "What `modules/worker` takes and gives. The three environments pass every variable on by "
    "the same name, so that it can be set in their `terraform.tfvars`; `environment` and "
    "`bundles` are their own. A variable is refused with the reason where it breaks a rule. A "
    "field without a default is left out by `null`."
)
_FIELD = re.compile(r"^ +(\w+) += (.+?),?$", re.MULTILINE)
_OPTIONAL = re.compile(r"optional\((.+)\)")


def terraform_page() -> str:
    """`docs/reference/terraform.md`."""
    inputs = [(path, *one) for path in _files() for one in _blocks(path, "variable")]
    own = [one for one in inputs if one[0].name == "variables.tf"]
    asked = [one for one in inputs if one[0].name != "variables.tf"]
    outputs = [one for path in _files() for one in _blocks(path, "output")]
    return page(
        "Terraform's inputs and outputs",
        "infra/terraform/modules/worker",
        _INTRODUCTION,
        "## The worker",
        *(part for _, name, body, text in own for part in _variable(name, body, text)),
        "## What organizations ask for",
        *(part for _, name, body, text in asked for part in _variable(name, body, text)),
        "## Outputs",
        table(
            ("output", "what"),
            ((f"`{name}`", _plain(body["description"])) for name, body, _ in outputs),
        ),
    )


def _files() -> list[Path]:
    return sorted(MODULE.glob("*.tf"))


def _blocks(path: Path, kind: str) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Name, content and text of each such block."""
    text = path.read_text(encoding="utf-8")
    for block in hcl2.loads(text).get(kind, ()):
        for quoted, body in block.items():
            name = quoted.strip('"')
            start = text.index(f'{kind} "{name}" {{')
            yield name, body, text[start : text.index("\n}\n", start)]


def _variable(name: str, body: Mapping[str, Any], text: str) -> Iterator[str]:
    yield f"### {name}"
    yield _plain(body["description"])
    fields = list(_fields(text))
    if fields:
        yield table(("field", "type", "default"), fields)
        if "default" not in body:
            yield "It must be given."
        return
    kind = re.search(r"^  type += (.+)$", text, re.MULTILINE)
    default = re.search(r"^  default += (.+)$", text, re.MULTILINE)
    must = f"Default: `{default[1]}`." if default else "It must be given."
    yield f"Type: `{kind[1] if kind else 'any'}`. {must}"


def _fields(text: str) -> Iterator[tuple[str, str, str]]:
    """The fields of an object; none of another type."""
    if "type = object({" not in " ".join(text.split()):
        return
    declared = text[text.index("object({") :]
    declared = declared[: declared.index("\n  })")]
    for name, kind in _FIELD.findall(_joined(declared)):
        optional = _OPTIONAL.fullmatch(kind)
        inner, default = _split(optional[1]) if optional else (kind, "")
        yield (
            f"`{name}`",
            f"`{' '.join(inner.split())}`",
            f"`{default or 'null'}`" if optional else "it must be given",
        )


def _joined(declared: str) -> str:
    """Each field in one line, also one whose type is an object of its own."""
    lines: list[str] = []
    depth = 0
    for line in declared.splitlines()[1:]:
        if depth:
            between = " " if lines[-1].endswith("{") or line.strip().startswith("}") else ", "
            lines[-1] = f"{lines[-1]}{between}{' '.join(line.split())}"
        else:
            lines.append(line)
        depth += line.count("(") + line.count("{") - line.count(")") - line.count("}")
    return "\n".join(lines)


def _split(inside: str) -> tuple[str, str]:
    """The type and the default of what stands in `optional(…)`."""
    depth = 0
    for place, letter in enumerate(inside):
        depth += (letter in "({[") - (letter in ")}]")
        if letter == "," and not depth:
            return inside[:place], inside[place + 1 :].strip()
    return inside, ""


def _plain(quoted: str) -> str:
    return quoted.strip('"').replace('\\"', '"')
