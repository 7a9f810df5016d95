"""What does a run folder hold, and what does it answer?"""
