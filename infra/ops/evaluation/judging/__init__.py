"""Judging: a model that compares two reports on one case, where one is asked for."""
