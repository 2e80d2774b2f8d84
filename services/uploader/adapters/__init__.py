"""How the uploader carries finished files to where they are kept."""
