"""Scheduler: one actor per watched streamer, and the process of each recording."""
