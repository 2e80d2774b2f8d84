"""The command line of Aircheck."""
