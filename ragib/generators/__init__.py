"""Generators: who writes the answer, from what evidence, and whether its citations hold."""
