"""What the demo works on: prompts, schemas, market data with charts, and flow runs.

All of it is built from shipped figures and a stamp, without clock, network or environment.
Importing this package costs nothing; only `build_scenario` loads pandas and matplotlib.
"""

from infra.local.scenario.builder import build_scenario
from infra.local.scenario.model import Document, Expectation, SampleChart, Scenario, SeedObject
from infra.local.scenario.prompts import prompt_documents, prompt_id
from infra.local.scenario.runs import report_profile
from infra.local.scenario.schemas import REFERENCE_SCHEMA_ID, schema_documents, schema_id
from infra.local.scenario.single import single_report_run, tiny_png

__all__ = [
    "REFERENCE_SCHEMA_ID",
    "Document",
    "Expectation",
    "SampleChart",
    "Scenario",
    "SeedObject",
    "build_scenario",
    "prompt_documents",
    "prompt_id",
    "report_profile",
    "schema_documents",
    "schema_id",
    "single_report_run",
    "tiny_png",
]
