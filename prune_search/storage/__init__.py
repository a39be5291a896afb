"""Where files lie: replaced whole, on disks that may be full, and copied to object stores."""
