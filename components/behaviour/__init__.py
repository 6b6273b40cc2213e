"""Behavioural checks: small changes of a text that must not change an answer, or must change it one way."""
