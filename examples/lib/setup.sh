# shellcheck shell=bash
# Sourced by examples/quickstart, examples/hello/make-repository and tests/run: system packages, an
# interpreter, a virtual environment with the project in it. Nothing here knows what they are for.

checkout=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)

# rpm's and a user's idea of PATH differ: Debian leaves sbin out for users.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# Both would mix other people's modules into everything below.
unset PYTHONHOME PYTHONPATH

say() { printf '==> %s\n' "$*"; }

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Run a command and show its output only when it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 </dev/null || status=$?
    ((status == 0)) || cat -- "$log" >&2
    rm -f -- "$log"
    return "$status"
}

# cache_directory NAME: where root, or this user, keeps what can be made again.
cache_directory() {
    if ((EUID == 0)); then
        echo "/var/cache/$1"
    else
        echo "${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/$1"
    fi
}

# --- system packages

# The path of a busybox that runs in a root file system with no libraries.
static_busybox() {
    local path static='not a dynamic executable|statically linked'
    while read -r path; do
        if [[ $(LC_ALL=C ldd "$path" 2>&1) =~ $static ]]; then
            readlink -f -- "$path"
            return
        fi
    done <<<"${BUSYBOX:-$(type -ap busybox)}"
    return 1
}

# have WHAT: a command, or a file by its absolute path (a pattern).
# Not any python or busybox will do.
have() {
    case $1 in
        python) find_python >/dev/null ;;
        busybox) static_busybox >/dev/null ;;
        /*) compgen -G "$1" >/dev/null ;;
        *) command -v -- "$1" >/dev/null ;;
    esac
}

# lacking COLUMN ROW...: that column of each row whose first column isn't here yet.
lacking() {
    local column=$1 row cells
    shift
    for row; do
        [[ -n $row ]] || continue
        read -ra cells <<<"$row"
        have "${cells[0]}" || echo "${cells[column]}"
    done | sort -u
}

install_with_apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -y \
        install --no-install-recommends "$@"
}

install_with_dnf() {
    "$(command -v dnf || command -v microdnf)" -y --setopt=install_weak_deps=0 install "$@"
}

# install_missing <<<"WHAT DEBIAN-PACKAGE FEDORA-PACKAGE" (lines): fails, and names it, when
# something is still missing afterwards, for lack of rights, network, or such a package.
install_missing() {
    local rows packages package column=0 tool=
    mapfile -t rows
    # A Debian may well have dnf too, so apt-get is asked first.
    if have apt-get; then
        column=1 tool=apt
    elif have dnf || have microdnf; then
        column=2 tool=dnf
    fi
    mapfile -t packages < <(lacking "$column" "${rows[@]}")
    ((${#packages[@]})) || return 0
    if ((EUID == 0 && column)); then
        say "installing the system packages ${packages[*]}"
        # A stale index still installs most; what it doesn't is named in the end.
        [[ $tool != apt ]] || quietly apt-get update || true
        if ! quietly "install_with_$tool" "${packages[@]}"; then
            # One name that this release doesn't know stops all the others.
            say "that failed; trying them one by one"
            for package in "${packages[@]}"; do
                quietly "install_with_$tool" "$package" 2>/dev/null || true
            done
        fi
        hash -r
        mapfile -t packages < <(lacking "$column" "${rows[@]}")
        ((${#packages[@]})) || return 0
    fi
    say "missing system packages: ${packages[*]}"
    ((EUID == 0)) || say "only root can install them"
    return 1
}

# --- Python

# An interpreter for the virtual environment. Root's may not lie in root's home (pyenv, uv): the
# commands made with it are for other users as well.
find_python() {
    local candidate
    for candidate in /usr/bin/python3 /usr/bin/python3.[1-9][0-9] \
        $(type -ap python3 python3.11 python3.12 python3.13 python3.14 python3.15); do
        [[ -x $candidate ]] && "$candidate" -I - 2>/dev/null <<'PYTHON' && return
import ensurepip, os, sys, venv

def public(path):
    while os.stat(path).st_mode & 0o001:
        if path == "/":
            return True
        path = os.path.dirname(path)
    return False

assert sys.version_info >= (3, 11)
assert os.geteuid() != 0 or public(os.path.realpath(sys.executable))
print(sys.executable)
PYTHON
    done
    return 1
}

# What the wheel is made of, as one line.
fingerprint() (
    cd -- "$checkout" || exit
    shopt -s globstar nullglob
    files=()
    for file in pyproject.toml LICENSE README* {buildkit,grammar,runtime}/**; do
        [[ -f $file && $file != *.pyc ]] && files+=("$file")
    done
    sha256sum -- "${files[@]}" | sha256sum
)

# pip in an environment. -I: the byte code is written even where PYTHONDONTWRITEBYTECODE is set, and
# no user site is looked at.
pip_in() {
    local venv=$1
    shift
    PIP_USER=0 quietly "$venv/bin/python" -I -m pip --disable-pip-version-check "$@" ||
        die "pip $1 failed (see above)"
}

# install_project VENV EXTRA [PIP-OPTION...]: as a wheel made from a copy, so that the checkout may
# be read-only and stays clean.
install_project() (
    venv=$1 extra=$2
    shift 2
    work=$(mktemp -d)
    trap 'rm -rf -- "$work"' EXIT
    shopt -s nullglob
    mkdir "$work/source"
    cp -R -- "$checkout"/{pyproject.toml,LICENSE,README*,buildkit,grammar,runtime} "$work/source"
    PYTHONPATH=$venv/build-backend \
        pip_in "$venv" wheel --no-deps --no-build-isolation --wheel-dir "$work" "$work/source"
    wheels=("$work"/*.whl)
    pip_in "$venv" install "$@" "${wheels[0]}$extra"
)

# prepare_venv VENV EXTRA: a virtual environment with the project as it is in the checkout now.
# EXTRA is "" or "[test]". Made anew when it is broken, or when Python, pyproject.toml or this file
# changed.
prepare_venv() {
    local venv=$1 extra=$2 python made_for sources lock requires
    python=$(find_python) ||
        die "needs Python 3.11 or newer with venv, executable by every user (Debian: python3-venv)"
    # The kernel splits the first line of a script there, and pip leaves it at that.
    [[ $venv != *[[:space:]]* ]] || die "$venv: no blanks, please, in the path of an interpreter"
    mkdir -p -- "$(dirname -- "$venv")"
    exec {lock}>"$venv.lock"
    ! have flock || flock "$lock"
    made_for="$python $("$python" -VV) $extra $(cat -- "$checkout/pyproject.toml" \
        "${BASH_SOURCE[0]}" | sha256sum)"
    sources=$(fingerprint)
    if [[ $(cat -- "$venv/made-for" 2>/dev/null) != "$made_for" ]] ||
        ! "$venv/bin/python" -I -c 'import pip' 2>/dev/null; then
        [[ ! -e $venv || -e $venv/pyvenv.cfg ]] || die "$venv: exists and is no virtual environment"
        say "making the virtual environment $venv"
        rm -rf -- "$venv"
        quietly "$python" -I -m venv "$venv" || die "$python -m venv failed (see above)"
        mapfile -t requires < <("$python" -I -c 'import sys, tomllib
print(*tomllib.load(sys.stdin.buffer)["build-system"]["requires"], sep="\n")' \
            <"$checkout/pyproject.toml")
        # Aside: in the environment, setuptools' .pth file would slow down every start of Python.
        pip_in "$venv" uninstall --yes setuptools
        pip_in "$venv" install --target "$venv/build-backend" "${requires[@]}"
        install_project "$venv" "$extra"
        echo "$made_for" >"$venv/made-for"
        echo "$sources" >"$venv/sources"
    elif [[ $(cat -- "$venv/sources" 2>/dev/null) != "$sources" ]]; then
        say "installing the changed project into $venv"
        rm -f -- "$venv/sources"
        install_project "$venv" "" --no-deps --force-reinstall
        echo "$sources" >"$venv/sources"
    fi
    exec {lock}>&-
}
