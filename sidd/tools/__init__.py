"""Commands to get a copy of SIDD and to check it."""
