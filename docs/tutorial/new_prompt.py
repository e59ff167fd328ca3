"""Make the reports of a flow run in a file READY again, with another prompt."""

import json
import sys
from pathlib import Path

file, prompt_id = Path(sys.argv[1]), sys.argv[2]
run = json.loads(file.read_text())
for name, step in run["steps"].items():
    if step["stepType"] == "LLM_REPORT":
        step["inputs"]["llm"]["promptId"] = prompt_id
        step |= {"status": "READY", "outputs": {}}
        step.pop("finishedAt", None)
        print(name, "names", prompt_id)
file.write_text(json.dumps(run, indent=2))
