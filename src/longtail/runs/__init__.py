"""Run folders: their files, prediction and evaluation with their models, and tables of their results."""
