"""Running exported models: numpy, OpenCV and one inference engine; neither torch nor onnx."""
