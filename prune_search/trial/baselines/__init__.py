"""The dense policy that trials start from, what determines it, and its control."""
