"""Asking the model, within the budgets of calls, time and money."""
