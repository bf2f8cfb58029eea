"""
Operators of the set `com.microsoft`, which ONNX Runtime's optimisers and quantisers put into models.

They have no schema in ONNX. What they mean is ONNX Runtime's documentation of them and its CPU kernels, which the tests
hold these lowerings against (tests/onnx/test_microsoft.py).
"""

from opml_dispute.model.lower.microsoft import attention, blocks, linear, normalise, quantise, recurrent

__all__ = ["attention", "blocks", "linear", "normalise", "quantise", "recurrent"]
