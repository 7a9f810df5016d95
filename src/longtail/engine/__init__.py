"""How is an experiment executed?"""
