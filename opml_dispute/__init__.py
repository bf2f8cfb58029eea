"""Dispute machine-learning results on a blockchain: a two-phase fault dispute game over ONNX models."""

__version__ = "0.1.0"
