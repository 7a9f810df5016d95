"""Execution of an experiment: training loop, evaluation, devices, and the report."""
