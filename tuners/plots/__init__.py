"""Pictures: of fronts, of searches, of sensitivity scans."""
