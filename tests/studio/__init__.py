"""The studio: a local live platform for the demo, the integration tests and the benchmarks."""

from .client import StudioClient, StudioProcess
from .options import ChatMessage, Fault, RoomOptions
from .studio import Studio

__all__ = ["ChatMessage", "Fault", "RoomOptions", "Studio", "StudioClient", "StudioProcess"]
