"""The contract relman.v1 as Python messages and stubs.

Generated from proto/relman/v1 by `make proto`; never edited.
"""
