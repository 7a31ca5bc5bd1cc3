"""What comes of simulations, for people and programs: tables, pictures, JSON, and comparisons that may be made."""
