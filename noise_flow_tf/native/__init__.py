"""The compiled core, and when it does TensorFlow's work."""
