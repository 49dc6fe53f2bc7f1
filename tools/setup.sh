#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# Sets up .venv and builds what is built from source. Idempotent: a stamp of all inputs makes the second
# run take seconds.   tools/setup.sh run   what the station needs      tools/setup.sh test   + training and checks
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-run}
say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# --- the system: named in one line, installed when we may
missing_packages() {
  local missing=() lib
  has_lib() { ldconfig -p 2>/dev/null | grep -q "$1" || ls /usr/lib/*/"$1"* >/dev/null 2>&1; }
  has_lib libGL.so.1 || missing+=(libgl1)
  has_lib libgthread-2.0.so.0 || missing+=(libglib2.0-0)
  has_lib libxcb.so.1 || missing+=(libxcb1)
  command -v cc >/dev/null || missing+=(gcc libc6-dev)
  if [ "$what" = test ]; then
    command -v mbpoll >/dev/null || missing+=(mbpoll)
    [ -x /usr/bin/chromium ] || command -v chromium >/dev/null || missing+=(chromium)
  fi
  echo "${missing[*]:-}"
}
packages=$(missing_packages)
if [ -n "$packages" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing system packages: $packages"
    # shellcheck disable=SC2086
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages; } \
      >/dev/null || fail "apt-get could not install: $packages"
  else
    fail "missing system packages; install them with:  sudo apt-get install -y $packages"
  fi
fi
python=""
for candidate in python3 python3.11 python3.12 python3.13; do  # each is tried: a shim may exist and not work
  if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || fail "no Python 3.11 to 3.14; install it with:  sudo apt-get install -y python3 python3-venv python3-dev"
command -v npm >/dev/null || fail "npm is missing; install Node.js >= 20.19 (Debian 12's own is 18, which is too old)."
node -e 'const [a,b]=process.versions.node.split(".").map(Number); process.exit(a>22||(a==22&&b>=12)||(a==20&&b>=19)||a==21?0:1)' \
  || fail "node $(node --version) is too old for the front end; install Node.js >= 20.19 or >= 22.12."

# --- Python
if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then  # absent, or left half-made
  say "creating .venv with $("$python" --version)"
  rm -rf .venv
  "$python" -m venv .venv || { rm -rf .venv; fail "$python -m venv failed; install it with:  sudo apt-get install -y python3-venv"; }
fi
stamp() { { cat pyproject.toml tools/constraints.txt tools/overrides.txt tools/setup.sh setup.py; echo "$1"; } | sha256sum | cut -c1-16; }
want=$(stamp "$what")
have=$(cat .venv/.gatesight-"$what" 2>/dev/null || true)
if [ "$want" != "$have" ]; then
  [ -x .venv/bin/uv ] || { say "installing the installer (uv)"; .venv/bin/python -m pip install -q uv \
    || fail "pip could not fetch uv; is there a network, or a package index that pip knows of?"; }
  # uv does not read pip's configuration: hand it the extra places pip was told to look in.
  pip_setting() { .venv/bin/python -m pip config get "$1" 2>/dev/null || true; }
  links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-$(pip_setting global.find-links)}}
  [ -z "$links" ] || export UV_FIND_LINKS="${links// /,}"
  index=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$(pip_setting global.index-url)}}
  [ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
  extras=""
  [ "$what" = test ] && extras="[train,dev]"
  [ "$what" = test ] && say "installing station, training and checks (torch is large: minutes on a first run)" \
    || say "installing what the station needs (no torch; a minute or two on a first run)"
  VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip install -q -e ".$extras" \
    --constraint tools/constraints.txt --override tools/overrides.txt || fail "the Python packages could not be installed; see above."
  echo "$want" > .venv/.gatesight-"$what"
  [ "$what" = test ] && stamp run > .venv/.gatesight-run || true
fi

# --- the simulated cameras (C) and the console's front end
say "simulated-camera producer (C; seconds, and only when something changed)"
.venv/bin/python -m cameras.simulator.build >/dev/null || fail "the simulated-camera producer did not build; see above."
front=station_app/frontend
front_stamp=$(cat $front/package-lock.json $front/*.json $front/*.ts $(find $front/src -type f | sort) 2>/dev/null | sha256sum | cut -c1-16)
if [ "$(cat station_app/static/dist/.stamp 2>/dev/null || true)" != "$front_stamp" ] || [ ! -d $front/node_modules ]; then
  say "console front end (npm; less than a minute)"
  (cd $front && npm ci --silent --no-audit --no-fund && npm run --silent build) || fail "the console's front end did not build; see above."
  echo "$front_stamp" > station_app/static/dist/.stamp
fi
say "ready"
