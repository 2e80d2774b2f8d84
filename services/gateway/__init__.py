"""The gateway: event store, read models, HTTP, SSE and WebSocket."""
