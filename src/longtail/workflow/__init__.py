"""From a user's request to finished runs: options, defaults, one run, several runs, comparison, demonstration."""
