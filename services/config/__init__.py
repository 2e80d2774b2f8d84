"""Config: streamers and the four layers of their configuration."""
