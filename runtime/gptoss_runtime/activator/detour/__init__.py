"""Requests that the cache or the content filter must see."""
