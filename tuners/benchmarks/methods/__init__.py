"""Every method on every algorithm: run for some updates each, and looked at for what must hold."""
