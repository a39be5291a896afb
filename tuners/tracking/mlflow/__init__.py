"""MLflow: runs, the charts its pages open with, and its server."""
