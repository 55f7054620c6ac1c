"""A folder of archives and the manifest that lists them."""
