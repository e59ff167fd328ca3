"""The second stage: lease a job, read its context, ask the model once, store and record."""
