"""What the command line can do, one verb a file.

A file has a function ``run(run) -> int``, and a docstring that is its manual page: a line of summary, paragraphs, then
``Groups:`` and ``Settings:`` with names of the configuration, ``Defaults:`` with overrides that it starts from, and
``Examples:``, each a command with its meaning indented below it. `surrogate.manual` reads it from the source.
"""
