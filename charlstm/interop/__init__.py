"""Models that go to other programs and come from them: PyTorch, Keras, ONNX and NumPy.

This module is light, for the command line's help; the work is in `conversion`.
"""

EXTENSIONS = {"torch": "safetensors", "keras": "weights.h5", "onnx": "onnx", "npz": "npz"}
EXPORTED = tuple(EXTENSIONS)
IMPORTED = ("torch", "keras", "npz")
