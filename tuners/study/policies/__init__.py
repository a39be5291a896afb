"""What is done with the policies that a study has found: exported, packed, registered."""
