"""Raw files of cameras, bursts of them, and what they say about a camera's noise."""
