"""How the notifier reaches people and programs."""
