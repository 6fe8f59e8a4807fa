"""Measured results of this repository: `records` keeps them, `render` and `templates` make the pages of docs/results.

`evidence` measures trained models; what needs none is `dse bench`, which ships with the package.
"""
