"""Trials of random plans on several tasks, recorded round by round, for searches to be replayed."""
