"""Target web: a page that plays the policy, and its code in plain JavaScript."""
