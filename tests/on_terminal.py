"""Become the program of the arguments on the terminal that is stdin, as a new session's first.

Whatever the caller ignores: a hang-up is heeded.
"""

import fcntl
import os
import signal
import sys
import termios

os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
