"""The alerting rules of the module, filled in as Terraform does it, and what promtool says."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

import yaml

from tests.support.terraform_module import MODULE, local_values, unquoted

RULES = MODULE / "alerts.yaml"
_DEFAULT = re.compile(r"^ +(\w+) += optional\(number, ([\d.]+)\)", re.MULTILINE)
_TEST_SECONDS = 60


def rule_text() -> str:
    """The file as Prometheus reads it, with the module's own names and defaults."""
    defaults = {
        name: number
        for name, number in _DEFAULT.findall((MODULE / "variables.tf").read_text())
        if name in RULES.read_text()
    }
    functions, subscriptions = local_values()["functions"], local_values()["subscriptions"]
    return Template(RULES.read_text()).substitute(
        defaults,
        dispatcher=unquoted(functions["dispatcher"]),
        sweep=unquoted(functions["sweep"]),
        dead_letters_subscription=unquoted(subscriptions["dead_letters"]),
        jobs_subscription=unquoted(subscriptions["jobs_push"]),
        worker_faults="|".join(unquoted(code) for code in local_values()["worker_faults"]),
        error_budget="0.01",
        model_latency_ms="240000",
    )


def rules() -> Mapping[str, Mapping[str, Any]]:
    """Each alert by its name."""
    (group,) = yaml.safe_load(rule_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def evaluation_seconds(rule: Mapping[str, Any]) -> int:
    """How often Cloud Monitoring looks, as alerts.tf decides it."""
    hourly = "[1h]" in rule["expr"] and rule["labels"]["severity"] == "warning"
    return 300 if hourly else 60


def promtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs it there.

    Raises:
        FileNotFoundError: there is none; on Debian it is in the package `prometheus`.
    """
    return subprocess.run(
        ["promtool", *arguments],  # noqa: S607
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=_TEST_SECONDS,
    )
