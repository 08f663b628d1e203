"""Continuing prompts, row by row: the engines, and the numbers by which they draw.

Read in this order: base (the Protocol), drawing, ending, plain (the reference), slots, prefill, shared_slots,
continuous, limits, choosing; then adapted, vllm_weights and vllm.
"""
