"""Graph passes over ONNX (onnx_ir), one to a file; their order is in `edgelm.export.pipeline`."""
