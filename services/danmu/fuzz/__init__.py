"""Coverage-guided fuzzing of the chat codecs: ``python -m services.danmu.fuzz.<name> -runs=100000``."""
