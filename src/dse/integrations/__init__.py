"""Students as rerankers of other frameworks, one file each: LangChain, LlamaIndex, Haystack, LanceDB.

Each needs the extra of its name, and nothing else of dse imports them. A student's folder given to the frameworks' own
cross-encoder classes is refused, see `dse.saved`.
"""
