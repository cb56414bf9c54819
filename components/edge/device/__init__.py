"""What runs on the device: needs numpy, ONNX Runtime and OpenCV, and nothing else of Sightline but a little of core."""
