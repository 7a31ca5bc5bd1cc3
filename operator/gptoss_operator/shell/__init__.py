"""Observes and carries out. Everything with an effect is here, and nothing that decides."""
