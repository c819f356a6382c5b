"""Getting a copy of SIDD and looking after it: the commands, and what they stand on."""
