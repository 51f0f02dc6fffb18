"""Networks as ONNX graphs: looked through before they run, and run by ONNX Runtime."""
