"""Convert: a checkpoint becomes an ONNX or TFLite file with bit-packed weights.

Importing this package loads neither torch nor onnx, so that the op records are readable on a device.
"""
