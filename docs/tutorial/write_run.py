"""Write a flow run with one READY report to the local environment, as an orchestrator does."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from google.cloud.firestore import Client

run_id = sys.argv[1]
local = json.loads(Path(".worker-llm/environment.json").read_text())
os.environ["FIRESTORE_EMULATOR_HOST"] = local["firestoreHost"]
runs = Client(local["project"]).collection("flow_runs")

# The demo's exporters have written candles and charts: the new run names the same.
pattern = runs.document("20260105-090000_BTCUSD_demo").get().to_dict()
if pattern is None:
    sys.exit("the demo's run is not there: start the local environment with the demo's runs")
now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
steps = {
    name: step for name, step in pattern["steps"].items() if step["stepType"] != "LLM_REPORT"
}
[(report_id, report)] = [
    item for item in pattern["steps"].items() if item[1]["stepType"] == "LLM_REPORT"
]
steps[report_id] = {
    "stepType": "LLM_REPORT",
    "status": "READY",
    "timeframe": report["timeframe"],
    "createdAt": now,
    "dependsOn": report["dependsOn"],
    "inputs": report["inputs"],
    "outputs": {},
}
document = {
    "schemaVersion": 1,
    "runId": run_id,
    "flowKey": "tutorial_v1",
    "status": "RUNNING",
    "createdAt": now,
    "updatedAt": now,
    "trigger": {"type": "USER", "source": "tutorial"},
    "scope": {"symbol": run_id.split("_")[1]},
    "steps": steps,
}
runs.document(run_id).create(document)
print(run_id, "written")
