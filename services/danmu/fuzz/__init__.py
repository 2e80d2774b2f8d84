"""Coverage-guided fuzzing of the chat codecs: `python -m services.danmu.fuzz.twitch -runs=100000`."""
