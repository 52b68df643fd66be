"""The methods, one file or folder each, and their contract (`kinema.methods.base`)."""
