"""Mutants of the deciding modules: does a test notice each small mistake?"""
