"""The language of Aircheck: every event, command and signal, their subjects, streams and envelope. Pydantic only."""
