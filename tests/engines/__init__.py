"""Real NATS and PostgreSQL servers for tests: from the wheels, or in containers where a Docker engine answers."""
