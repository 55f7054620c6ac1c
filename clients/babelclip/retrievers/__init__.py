"""Retrievers and embeddings for LangChain and LlamaIndex, over an index or a gateway's collection.

    from babelclip.retrievers.langchain import BabelclipEmbeddings, BabelclipRetriever
    from babelclip.retrievers.llamaindex import BabelclipEmbedding, BabelclipRetriever

Each takes the package of its framework, `pip install 'babelclip[langchain]'` or `'babelclip[llamaindex]'`.
"""
