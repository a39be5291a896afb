"""Where folders lie: on disks that may be full, and copied to object stores."""
