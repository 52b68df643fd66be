"""What the commands show and do on top of the library: demo, dry runs, catalogues."""
