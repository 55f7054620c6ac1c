# shellcheck shell=bash
# Sourced by the scripts here: what a user's shell may hold that Python of the virtual environment would stumble over.

# Another Python's libraries; and a switch that hides the modules beside a script.
unset PYTHONHOME PYTHONSAFEPATH
# In the C locale, and in one that is not installed, Python 3.11 cannot read that a checkout lies in a folder with
# letters beyond ASCII, and ends at once.
case $(locale charmap 2>/dev/null) in ANSI_X3.4-1968 | US-ASCII) export LC_ALL=C.UTF-8 ;; esac
