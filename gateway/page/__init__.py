"""The page: search, upload and duplicates of collections, as static files that need no build.

`static/` is plain HTML, CSS and modules of JavaScript; `files` reads it, and `gateway.http.page` serves it.
"""
