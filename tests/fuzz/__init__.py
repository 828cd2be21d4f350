"""Fuzzing of the decoder: what is checked (target), how inputs are made (mutate, make_corpus, guided)."""
