// Write a flow run with one READY report to the local environment, as an orchestrator does.
import { readFile } from "node:fs/promises";

const runId = process.argv[2];
const local = JSON.parse(await readFile(".worker-llm/environment.json", "utf8"));
const runs = `http://${local.firestoreHost}/v1/projects/${local.project}/databases/(default)/documents/flow_runs`;
// The emulator's own token: it allows everything.
const headers = { authorization: "Bearer owner", "content-type": "application/json" };

// Firestore's REST interface names the type of every value.
const fields = (map) => Object.fromEntries(Object.entries(map).map(([name, value]) => [name, typed(value)]));
const typed = (value) => {
  if (Array.isArray(value)) return { arrayValue: { values: value.map(typed) } };
  if (value === null) return { nullValue: null };
  if (typeof value === "object") return { mapValue: { fields: fields(value) } };
  if (typeof value === "number") {
    return Number.isInteger(value) ? { integerValue: String(value) } : { doubleValue: value };
  }
  return typeof value === "boolean" ? { booleanValue: value } : { stringValue: value };
};

const plain = (value) => {
  const [[kind, content]] = Object.entries(value);
  if (kind === "mapValue") return plainMap(content.fields);
  if (kind === "arrayValue") return (content.values ?? []).map(plain);
  return kind === "integerValue" ? Number(content) : content;
};
const plainMap = (map = {}) => Object.fromEntries(Object.entries(map).map(([name, value]) => [name, plain(value)]));

const ask = async (url, options) => {
  const answer = await fetch(url, { headers, ...options });
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  return answer.json();
};

// The demo's exporters have written candles and charts: the new run's export steps name the same.
const pattern = plainMap((await ask(`${runs}/20260105-090000_BTCUSD_demo`)).fields);
const now = new Date().toISOString();
const steps = {};
for (const [name, step] of Object.entries(pattern.steps)) {
  const { stepType, timeframe, dependsOn, inputs } = step;
  steps[name] = stepType === "LLM_REPORT"
    ? { stepType, status: "READY", timeframe, createdAt: now, dependsOn, inputs, outputs: {} }
    : step;
}
const document = {
  schemaVersion: 1,
  runId,
  flowKey: "tutorial_v1",
  status: "RUNNING",
  createdAt: now,
  updatedAt: now,
  trigger: { type: "USER", source: "tutorial" },
  scope: { symbol: runId.split("_")[1] },
  steps,
};
const body = JSON.stringify({ fields: fields(document) });
await ask(`${runs}?documentId=${runId}`, { method: "POST", body });
console.log(runId, "written");
