#!/bin/sh
# Every command of this repository. Each verb first installs what is missing, so a fresh clone needs nothing else.
set -eu
caller=$PWD # a job runs there, so that relative paths mean what they say
cd "$(dirname "$0")"
java=${JAVA_HOME:+$JAVA_HOME/bin/}java # as Spark's scripts look for it

usage() {
    cat <<END
./do train [ARGUMENTS]   spark-submit jobs/train.py, from where you are; arguments are passed on, such as --config FILE
./do preprocess [ARGUMENTS]
./do rebalance [ARGUMENTS]
./do evaluate [ARGUMENTS]   the other jobs, likewise
./do test [ARGUMENTS]    ruff, mypy and pytest; with arguments pytest alone, and they are passed on
./do bench [NAME]        measures, side by side with others; NAME: $(list_benches | tr '\n' ' ')
./do soak [ARGUMENTS]    kills ranks, workers, executors and drivers at random, and compares with an undisturbed run
./do lint                ruff and mypy
./do fmt                 ruff's formatter and fixes
END
}

fail() { # message; exit code 4: something is missing on this machine
    echo "error[4]: $1" >&2
    exit 4
}

has() { command -v "$1" >/dev/null 2>&1; }

fits() { # python: is it one that TensorFlow 2.21 has wheels for, with the headers that Horovod is compiled against?
    has "$1" && "$1" -c '
import os, sys, sysconfig
header = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(not ((3, 11) <= sys.version_info < (3, 14) and os.path.exists(header)))' 2>/dev/null
}

find_python() {
    for python in python3 python3.13 python3.12 python3.11; do
        if fits "$python"; then echo "$python" && return; fi
    done
}

other_python() { # a python3 that does not fit in any case; then uv fetches one
    has python3 && python3 -c 'import sys; sys.exit((3, 11) <= sys.version_info < (3, 14))'
}

list_missing() { # names of Debian packages
    has "${CXX:-g++}" || echo g++
    has make || echo make
    find_uv >/dev/null || python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
    [ -n "$(find_python)" ] || other_python || echo python3-dev
    has "$java" || known_java || echo openjdk-17-jre-headless
}

known_java() { # the older of the two that apt knows
    apt-cache search --names-only '^openjdk-(17|21)-jre-headless$' 2>/dev/null | sort | sed -n '1s/ .*//p' | grep .
}

install_packages() {
    missing=$(list_missing | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    has apt-get && has "${sudo:-env}" ||
        fail "missing here: $missing(names as in Debian); install them, then run ./do again"
    $sudo apt-get update -qq || fail "apt cannot update its lists; see above, then run ./do again"
    missing=$(list_missing | tr '\n' ' ') # only now does apt know which Java there is
    echo "installing with apt: $missing" >&2
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
        fail "apt cannot install: $missing; install them, then run ./do again"
}

find_uv() { # one that knows [tool.uv.extra-build-dependencies]
    for uv in uv .uv/bin/uv; do
        case $(has $uv && $uv --version) in
            "uv 0.1"[0-9].* | "uv "[1-9]*) echo $uv && return ;;
        esac
    done
    return 1
}

add() { # what uv installs; it refuses what has another version or another SHA-256 than constraints.txt says
    # With bytecode, which a user who may not write here could not add: 5 CPU seconds at the start of each process.
    "$(find_uv)" pip install --quiet --compile-bytecode --python .venv --constraints constraints.txt "$@" ||
        fail "uv could not install the packages; its message is above"
}

version() { # command, which prints a version on its first line
    "$@" 2>&1 | sed -n '1s/^[^0-9]*\([0-9][0-9.]*[0-9]\).*/\1/p'
}

describe() { # one line: what will be used, and what does not fit; so that nobody waits for a compiler to hear of Java
    note=
    [ -n "$python" ] || note=" (does not fit TensorFlow 2.21, which has wheels for 3.11 to 3.13: uv fetches 3.12)"
    echo "found: ${CXX:-g++} $(version "${CXX:-g++}" --version), make $(version make --version)," \
        "Java $(java_version), uv $(version "$(find_uv)" --version)," \
        "Python $(version "${python:-python3}" --version)$note" >&2
}

install() {
    wanted=$(cat pyproject.toml constraints.txt packages/horovod/pyproject.toml packages/horovod/backend.py | cksum)
    if has "$java" && [ "$(cat .venv/installed 2>/dev/null)" = "$wanted" ]; then return; fi
    install_packages
    if ! find_uv >/dev/null; then
        python3 -m venv .uv
        .uv/bin/pip install -q --disable-pip-version-check uv==0.13.9
    fi
    python=$(find_python)
    describe
    check_java
    if [ -z "$python" ]; then # the distribution ships another
        python=3.12
        "$(find_uv)" python install --quiet --no-bin $python ||
            fail "TensorFlow needs Python 3.11 to 3.13, which uv cannot fetch, see above; put one with headers on PATH"
    fi
    echo "installing Python packages into .venv; Horovod is compiled, which takes some minutes" >&2
    "$(find_uv)" venv --quiet --clear --python "$python" .venv || fail "uv cannot make .venv; its message is above"
    add -e . --group dev
    echo "$wanted" >.venv/installed
}

java_version() { "$java" -version 2>&1 | sed -n 's/.* version "\([0-9._]*\).*/\1/p'; }

check_java() {
    case $(java_version) in
        1[789] | 1[789].* | 2[01] | 2[01].*) ;;
        *)
            fail "Spark 4.2 needs Java 17 to 21, found $(java_version | grep . || echo none); \
install openjdk-17-jre-headless, or point JAVA_HOME to one"
            ;;
    esac
}

lint() {
    ruff check
    ruff format --check
    mypy
}

list_benches() { # programs in bench/ that say that they are called so
    for file in bench/*.py; do
        name=${file#bench/}
        name=${name%.py}
        ! grep -q "^    \./do bench $name " "$file" || echo "$name"
    done
}

bench() { # name of a program in bench/, its arguments; without a name all that concerns training
    case ${1:-} in
        "" | -*) set -- training "$@" ;;
    esac
    name=$1
    shift
    if ! list_benches | grep -qx -e "$name"; then
        echo "error[2]: ./do bench measures: $(list_benches | tr '\n' ' ')or, without a name, all that concerns \
training; received '$name'" >&2
        exit 2
    fi
    add --group bench
    exec python "bench/$name.py" "$@"
}

verb=${1:-}
[ $# -eq 0 ] || shift
case $verb in
    preprocess | rebalance | train | evaluate | test | bench | soak | lint | fmt) install ;;
    "") usage && exit ;;
    *) usage >&2 && echo "error[2]: ./do has no verb '$verb'; its verbs are above" >&2 && exit 2 ;;
esac

# spark-submit takes python3 from PATH. Spark reads the conf beside it, which pip's Spark lacks: so ours holds however
# a job is started, unless there is a Spark or a SPARK_CONF_DIR of the user's own.
PATH=$PWD/.venv/bin:$PATH
for spark in .venv/lib/python3.*/site-packages/pyspark; do
    [ ! -d "$spark" ] || [ -e "$spark/conf" ] || ln -s ../../../../../conf/spark "$spark/conf"
done

case $verb in
    preprocess | rebalance | train | evaluate)
        check_java
        job=$PWD/jobs/$verb.py
        cd "$caller"
        exec spark-submit "$job" "$@"
        ;;
    test)
        check_java
        [ $# -eq 0 ] || exec pytest "$@"
        lint
        # Whole files, two at a time, since many tests start ranks of their own; in this order the long ones come early.
        exec pytest -n auto --maxprocesses 2 --dist loadfile --no-loadscope-reorder
        ;;
    bench) check_java && bench "$@" ;;
    soak) check_java && exec python bench/soak.py "$@" ;;
    lint) lint ;;
    fmt) ruff check --fix --quiet && ruff format ;;
esac
