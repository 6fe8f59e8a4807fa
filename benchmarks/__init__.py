"""Each module makes one page of `docs/results`; nothing in those pages is typed by hand."""
