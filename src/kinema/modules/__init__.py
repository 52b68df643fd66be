"""Parts that methods share: encoders, heads, momentum copies, and what crosses processes."""
