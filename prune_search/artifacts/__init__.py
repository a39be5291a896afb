"""The files that a policy leaves in, and what runs them: torch, ONNX, C; no RLlib, no Ray."""
