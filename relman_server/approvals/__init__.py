"""Approvals: who agreed to a deployment."""
