"""Tools for language models over the Model Context Protocol: search, likenesses, labels and moments of films.

    babelclip mcp --index photographs.index --url mar:model_store      # stdio, as desktop clients start it
    babelclip mcp --collection photographs --url http://127.0.0.1:8000 --port 8765

    server = build_server(IndexLibrary(searcher))
    server.run()

It takes `pip install 'babelclip[mcp]'`, and `'babelclip[search]'` for an index.
"""

try:
    import mcp as _sdk  # noqa: F401
except ImportError as error:
    raise ImportError("babelclip.mcp needs the SDK of MCP: pip install 'babelclip[mcp]'") from error

from babelclip.mcp.answers import Limits
from babelclip.mcp.collection_library import CollectionLibrary
from babelclip.mcp.index_library import IndexLibrary
from babelclip.mcp.library import ImageLibrary
from babelclip.mcp.server import ImageServer, build_server
from babelclip.mcp.serving import read_token, serve_http

__all__ = [
    "CollectionLibrary",
    "ImageLibrary",
    "ImageServer",
    "IndexLibrary",
    "Limits",
    "build_server",
    "read_token",
    "serve_http",
]
