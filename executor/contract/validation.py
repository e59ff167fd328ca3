"""What pydantic found, in words that may be stored: paths and rules, never values."""

from pydantic import ValidationError

_MAX_PROBLEMS = 5
_MAX_PATH_CHARS = 96


def describe(error: ValidationError, root: str) -> str:
    """One line that names the offending paths below `root` and what each must be."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [
        f"{_path(root, problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in problems[:_MAX_PROBLEMS]
    ]
    if len(problems) > _MAX_PROBLEMS:
        lines.append(f"and {len(problems) - _MAX_PROBLEMS} more")
    return "; ".join(lines)


def _path(root: str, location: tuple[int | str, ...]) -> str:
    return ".".join([root, *(str(part) for part in location)])[:_MAX_PATH_CHARS]
