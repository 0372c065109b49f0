"""ragib's retriever and compressor inside pipelines of LangChain, LlamaIndex and Haystack.

One module a framework, which needs that framework alone and says so where it is not installed.
In each, `RagibRetriever` finds passages and `RagibCompressor` keeps evidence out of them.
"""
