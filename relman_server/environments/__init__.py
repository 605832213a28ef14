"""Environments: where services run, and under which rules."""
