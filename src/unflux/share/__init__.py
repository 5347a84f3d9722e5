"""Findings and summaries in the forms that people and their tools take: one module each."""
