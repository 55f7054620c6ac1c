"""Models trained from nothing but public data, with the commands that make them."""
