"""The demo: a broadcast of the local studio, recorded by the whole system, every file checked by somebody else's code."""
