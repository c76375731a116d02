"""LLM-MDE (Xia and Wu, 2024, arXiv:2409.01133), rewritten.

A language model reads image tokens and a prompt, and depth comes out in meters. Each module says
what of it is the paper's or the released code's, and what is ours.
"""
