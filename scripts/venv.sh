# Sourced by setup.sh and lowest.sh: find a Python, make an environment.

# find_python CONDITION CANDIDATE...: sets $python to the first whose sys.version_info fits, else "".
find_python() {
    condition=$1
    shift
    for python in "$@"; do
        if fits "$python" "$condition"; then
            return
        fi
    done
    python=""
}

# fits PYTHON CONDITION: whether it runs and the condition on sys.version_info holds.
fits() {
    "$1" -c "import sys; sys.exit(not ($2))" 2>/dev/null
}

# works_in FOLDER CONDITION: whether its Python runs, is of this folder (without pyvenv.cfg it is the
# system's, and packages would go there), and the condition holds.
works_in() {
    fits "$1/bin/python" "__import__('os').path.samefile(sys.prefix, '$1') and ($2)"
}

# make_venv FOLDER PYTHON CONDITION: an environment with pip. One whose Python is gone, too old or
# cannot get pip is made anew.
make_venv() {
    if works_in "$1" "$3"; then
        for module in pip ensurepip; do
            "$1/bin/python" -m $module --version >/dev/null 2>&1 || continue
            [ $module = pip ] || "$1/bin/python" -m ensurepip >/dev/null || continue
            return
        done
    fi
    if [ -e "$1" ] || [ -L "$1" ]; then
        if [ -L "$1" ] || { [ ! -f "$1/pyvenv.cfg" ] && [ -n "$(ls -A "$1")" ]; }; then
            echo "error: $1 has no Python that works, and this program did not make it; make it a" \
                "virtual environment with pip, or rename it" >&2
            exit 2
        fi
        echo "$1 is half-made, or its Python is gone or too old: it is made anew"
    fi
    if ! "$2" -m venv --clear "$1"; then
        package=$("$2" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        echo "error: $2 cannot make an environment (its reason is above); on Debian and Ubuntu:" \
            "apt install $package. Or name another Python: PYTHON=/path/to/python" >&2
        exit 2
    fi
}
