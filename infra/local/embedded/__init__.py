"""Embedded mode: the dispatcher's and the executor's own code on in-process adapters.

For machines that have neither gcloud nor Java. The adapters pass the same contract tests as
the real services.
"""
