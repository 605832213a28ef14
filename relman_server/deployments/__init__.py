"""Deployments and their stages: the way of a release into an environment."""
