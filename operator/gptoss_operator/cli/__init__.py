"""Commands for people: what they run by hand or from make."""
