# Firestore indexes every field by itself, each value in both directions, those within maps too. That answers the sweep's
# query for runs (by status, then by name), and those of the operator's attention list. It costs
# three things where nobody asks: an entry for each value (a document may have 40,000), the time to write it, and, where
# the values only grow, a hot spot that bounds the writes of a collection to 500 a second
# (https://cloud.google.com/firestore/quotas).
# So maps, lists, long texts, times, and ids that begin with the time, that no query asks for have no index of their own.
# A test derives from the code's queries and from the documents' schemas which those are.

locals {
  # Collection -> its fields without an index. They are the worker's own collections.
  unindexed = {
    llm_jobs = [
      "claimedAt", "formerClaims", "history", "interaction", "lastError", "lease", "notBefore", "operatorActs", "runId",
      "waiting",
    ]
    llm_prompts = ["systemInstruction", "userPrompt"]
    llm_schemas = ["createdAt", "jsonSchema"]
    llm_spend   = ["reservedMicroUsd", "slices"]
  }

  # Each step of a run has some 50 values. The collection is the orchestrator's, so that an existing database is asked.
  flow_runs_unindexed = coalesce(var.database.flow_runs_unindexed, var.database.create ? ["steps"] : [])

  unindexed_fields = {
    for field in concat(
      flatten([for collection, names in local.unindexed : [for name in names : { collection = collection, name = name }]]),
      [for name in sort(local.flow_runs_unindexed) : { collection = "flow_runs", name = name }],
    ) : "${field.collection}.${field.name}" => field
  }
}

resource "google_firestore_field" "unindexed" {
  for_each = local.unindexed_fields

  project    = var.project_id
  database   = local.database
  collection = each.value.collection
  field      = each.value.name

  index_config {}

  depends_on = [time_sleep.services]
}

# Runs of one status, flow or symbol, the newest first: `worker-llm runs list` and the console. Firestore merges
# indexes of the same order, so these three answer every combination:
# https://cloud.google.com/firestore/docs/query-data/index-overview#taking_advantage_of_index_merging
resource "google_firestore_index" "runs" {
  for_each = toset(["status", "flowKey", "scope.symbol"])

  project    = var.project_id
  database   = local.database
  collection = "flow_runs"

  fields {
    field_path = each.key
    order      = "ASCENDING"
  }
  fields {
    field_path = "createdAt"
    order      = "DESCENDING"
  }

  depends_on = [time_sleep.services]
}

# Due jobs, the longest due first: the sweep, and the operator's attention list. A job's wakeAt is written two or three
# times a step and only grows, so it has an index in sixteen shards and none of its own:
# https://cloud.google.com/firestore/docs/solutions/shard-timestamp
resource "google_firestore_index" "due_jobs" {
  project    = var.project_id
  database   = local.database
  collection = "llm_jobs"

  fields {
    field_path = "shard"
    order      = "ASCENDING"
  }
  fields {
    field_path = "wakeAt"
    order      = "ASCENDING"
  }

  depends_on = [time_sleep.services]
}

# The sweep of before asks by wakeAt alone: the index goes once its successor is there.
resource "google_firestore_field" "wake_at" {
  project    = var.project_id
  database   = local.database
  collection = "llm_jobs"
  field      = "wakeAt"

  index_config {}

  depends_on = [google_cloudfunctions2_function.sweep]
}

# Closed job records, and what runs and days spent (kept for the books, for a year and a bit), are deleted some time
# after their expireAt.
resource "google_firestore_field" "expiry" {
  for_each = toset(["llm_jobs", "llm_spend"])

  project    = var.project_id
  database   = local.database
  collection = each.key
  field      = "expireAt"

  ttl_config {}
  index_config {}

  depends_on = [time_sleep.services]
}
