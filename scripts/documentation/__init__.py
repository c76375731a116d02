"""What `write_docs.py` does: pages made from the code, so that they cannot say something else.

fields, config_page: every key of a config.
messages, subjects, troubleshooting_page: every line that a program can end with, and what it means
(advice.yaml). The beginnings of the pages are the files ..._head.md.
"""
