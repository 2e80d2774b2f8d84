"""The notifier: tells people and programs what happened."""
