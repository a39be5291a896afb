"""A point's policy in another form."""
