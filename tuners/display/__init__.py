"""What a person sees in a terminal: a study while it runs, and its tables."""
