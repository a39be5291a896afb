"""Across trials: the search and its space, MLflow, reports and plots."""
