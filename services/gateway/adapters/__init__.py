"""Passwords, tokens and keys: the cryptography of others behind small functions."""
