"""Continuing prompts, row by row: the engines, and the numbers by which they draw.

Read in this order: base (the Protocol), drawing, ending, plain (the reference), slots, continuous, choosing.
"""
