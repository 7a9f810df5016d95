"""An experiment as data: what is it, and what is it called?"""
