# Sourced before each shell block of a page. The block runs unchanged, apart from the programs below: they would take
# minutes, change the reader's machine, or never end, so that what they are asked for is checked instead.
set -euo pipefail

make() { # the targets exist
    command make --dry-run --directory "$CHECKOUT" "$@" >/dev/null
}

pip() { # the extras of the checkout exist; other packages are installed here
    python -m tests.docs.pip "$@"
}

git() { # the checkout is there
    test "$1" = clone
}

cd() { # into the checkout, of which the page's folder is a stand-in
    test "$1" = voltmem
}

uvicorn() { # serves the application on a free port, until the page ends
    python -m uvicorn "$@" --port "$PORT" --log-level warning >uvicorn.log 2>&1 &
    until command curl --silent --output /dev/null "localhost:$PORT"; do
        kill -0 $! 2>/dev/null || { cat uvicorn.log && return 1; }
        sleep 0.1
    done
}

curl() { # the application's port is 8000 on the page
    command curl --fail-with-body --silent --show-error --max-time 60 "${@//localhost:8000/localhost:$PORT}"
}
