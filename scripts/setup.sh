# Sourced by the other scripts: brings the checkout to a state in which the program runs. Costs some milliseconds when
# there is nothing to do. Problems end the script with one line and exit 3.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die() { echo "daxrig: $*" >&2; exit 3; }

# program[:file] and the Debian, Fedora and Arch packages that have it
needs='
qemu-system-x86_64 qemu-system-x86 qemu-system-x86-core qemu-system-x86
ndctl ndctl ndctl ndctl
daxctl daxctl daxctl ndctl
mkfs.xfs xfsprogs xfsprogs xfsprogs
mke2fs e2fsprogs e2fsprogs e2fsprogs
busybox busybox-static busybox busybox
depmod kmod kmod kmod
losetup mount util-linux util-linux
xz xz-utils xz xz
zstd zstd zstd zstd
lz4 lz4 lz4 lz4
g++ g++ gcc-c++ gcc
make make make make
python3 python3 python3 python
'

missing_packages() { # $1: column of the package name
  local PATH=$PATH:/usr/sbin:/sbin program debian fedora arch
  while read -r program debian fedora arch; do
    [ -z "$program" ] && continue
    command -v "$program" >/dev/null 2>&1 || case $1 in debian) echo "$debian" ;; fedora) echo "$fedora" ;; arch) echo "$arch" ;; esac
  done <<<"$needs"
}

install_packages() {
  local list
  list=$(missing_packages debian | sort -u | tr '\n' ' ')
  [ -z "$list" ] && return
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "daxrig: needed programs are missing; install them and run this again:" >&2
    echo "  dnf install $(missing_packages fedora | sort -u | tr '\n' ' ')" >&2
    echo "  pacman -S $(missing_packages arch | sort -u | tr '\n' ' ')" >&2
    exit 3
  fi
  if [ "$(id -u)" != 0 ]; then
    die "needed packages are missing; run: sudo apt-get install --no-install-recommends ${list% }"
  fi
  echo "daxrig: installing Debian packages: ${list% }" >&2
  local log
  log=$(mktemp)
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $list; } >"$log" 2>&1; then
    grep -E '^(E|Err)' "$log" | head -5 >&2
    rm -f "$log"
    die "apt-get could not install ${list% }"
  fi
  rm -f "$log"
}

check_node() {
  command -v node >/dev/null 2>&1 || die "Node.js is not installed; install Node 20.19 or newer"
  command -v npm >/dev/null 2>&1 || die "npm is not installed; install Node 20.19 or newer with npm"
}

check_node_version() {
  node -e 'const [major, minor] = process.versions.node.split("."); process.exit(major > 20 || (major == 20 && minor >= 19) ? 0 : 1)' || die "this is Node $(node --version); install Node 20.19 or newer"
}

# True when something of the later arguments is newer than the first.
stale() {
  local made=$1
  shift
  [ ! -e "$made" ] || [ -n "$(find "$@" -newer "$made" -print -quit 2>/dev/null)" ]
}

run_quietly() { # what it is, command...
  local what=$1 log
  shift
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1; then
    grep -v 'npm warn' "$log" | tail -20 >&2
    rm -f "$log"
    die "$what failed: $*"
  fi
  rm -f "$log"
}

# The timings database's library, built from its own source; only what uses it waits for that (about a minute).
set_up_database() {
  local library=$root/node_modules/better-sqlite3 prefix
  [ -e "$library/build/Release/better_sqlite3.node" ] && return
  prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
  echo "daxrig: building SQLite" >&2
  run_quietly 'the SQLite build' node "$root/node_modules/node-gyp/bin/node-gyp.js" rebuild --release --directory "$library" $([ -e "$prefix/include/node/node_api.h" ] && echo "--nodedir=$prefix")
}

# Both are linked by one build, which may end between them.
addon_stale() {
  stale "$addon" "$root/native" "$root/binding.gyp" || stale "$peer" "$root/native" "$root/binding.gyp"
}

# Two set-ups of one checkout at once would build over each other.
set_up() {
  local modules=$root/node_modules/.package-lock.json addon=$root/build/Release/daxrig.node peer=$root/build/Release/daxrig-peer built=$root/dist/.built
  install_packages
  check_node
  stale "$modules" "$root/package.json" "$root/package-lock.json" || addon_stale || stale "$built" "$root/src" "$root/tsconfig.json" "$root/scripts/bundle.mjs" || return 0
  check_node_version
  exec 9>"$root/.setup.lock"
  flock 9
  cd "$root"
  if stale "$modules" package.json package-lock.json; then
    echo "daxrig: installing npm packages" >&2
    run_quietly 'npm install' npm ci --ignore-scripts --no-audit --no-fund
    touch "$modules"
  fi
  if addon_stale; then
    echo "daxrig: building the addon" >&2
    node scripts/build-addon.mjs || exit 3
    touch "$addon" "$peer"
  fi
  if stale "$built" src tsconfig.json scripts/bundle.mjs; then
    echo "daxrig: compiling" >&2
    rm -rf dist
    run_quietly 'the TypeScript build' npm run --silent prepare
    touch "$built"
  fi
  exec 9>&-
  cd - >/dev/null
}
