"""Mutation fuzzing of everything that reads a file, or a description that came from one.

A mutated input may be refused with ValueError or OSError, and nothing else, within a second and 100 MB. The
mutators are one file per kind of content, `targets` says what is loaded, `case` runs and measures one input,
and ``python -m tests.fuzz`` goes on for as long as it is told to.
"""
