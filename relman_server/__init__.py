"""relman-server: records releases, decides what may be deployed where, and streams what happens."""

__version__ = "0.1.0"
