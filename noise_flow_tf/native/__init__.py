"""The compiled core for CPUs: what it computes, when it is used, and how it is built."""
