"""Incidents: what went wrong for users, and which deployment caused it."""
