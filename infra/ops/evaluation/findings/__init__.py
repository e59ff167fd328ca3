"""Findings: what was measured, what differs, and what may be believed of it. Pure."""
