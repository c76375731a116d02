"""The lock file of `lock.py`.

lock_file: made from what pip would install, read, compared.
"""
