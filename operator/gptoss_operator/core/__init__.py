"""Decides. Pure functions from what is asked for and what is seen to what is to be done, each with its reason."""
