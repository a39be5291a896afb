"""Scripts that go into MLflow with a policy and play it there: each stands alone."""
