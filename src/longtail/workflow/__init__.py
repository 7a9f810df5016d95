"""What was asked for, and who carries it out?"""
