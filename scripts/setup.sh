#!/usr/bin/env bash
# Makes sure that system commands are there: `scripts/setup.sh [command...]`, by default those that pulls need.
# On Debian and Ubuntu it installs what is missing, as root or with sudo where that asks no password; elsewhere it
# prints what to run and ends with 1. Quiet when nothing is to do.
set -u

export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export DEBIAN_FRONTEND=noninteractive

# The Debian package of a command.
package_of() {
  case $1 in
    mke2fs | e2fsck | debugfs) echo e2fsprogs ;;
    busybox) echo busybox-static ;;
    ip) echo iproute2 ;;
    promtool) echo prometheus ;;
    mkfs.xfs) echo xfsprogs ;;
    *) echo "$1" ;;
  esac
}

has_command() {
  command -v "$1" >/dev/null || { [ "$1" = redis-server ] && command -v valkey-server >/dev/null; }
}

# The command line that installs packages on this system, for people to run.
install_command() {
  local sudo='sudo '
  [ "$(id -u)" -eq 0 ] && sudo=''
  if command -v apt-get >/dev/null; then
    echo "${sudo}apt-get install --no-install-recommends $*"
  elif command -v dnf >/dev/null; then
    echo "${sudo}dnf install ${*/redis-server/valkey}"
  elif command -v apk >/dev/null; then
    echo "${sudo}apk add ${*/redis-server/redis}"
  elif command -v pacman >/dev/null; then
    echo "${sudo}pacman -S ${*/redis-server/valkey}"
  elif command -v zypper >/dev/null; then
    echo "${sudo}zypper install ${*/redis-server/redis}"
  elif command -v brew >/dev/null; then
    echo "brew install ${*/redis-server/redis}"
  fi
}

cannot_install() {
  local by_hand
  by_hand=$(install_command "$@")
  {
    echo "bhatti: these packages are needed and not installed: $*"
    [ -n "$by_hand" ] && echo "Install them with: $by_hand"
    case " $* " in *' redis-server '*) echo 'Redis is not needed here when REDIS_URL names one that runs elsewhere.' ;; esac
  } >&2
  exit 1
}

is_debian_like() {
  command -v apt-get >/dev/null && grep -Eq '^(ID|ID_LIKE)=.*(debian|ubuntu)' /etc/os-release 2>/dev/null
}

# Runs a command as root, its output only shown when it fails.
as_root() {
  local output
  output=$(${sudo:+sudo -n} "$@" 2>&1 </dev/null) && return
  printf '%s\n' "$output" | tail -n 20 >&2
  return 1
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "$@"
}

has_package_lists() {
  compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null
}

apt_update() {
  as_root apt-get update -q -o DPkg::Lock::Timeout=300
}

# Debian starts the service of a package at once, and again at every boot. This program runs its own processes, so a
# service that was not there before is kept from starting and disabled.
policy=/usr/sbin/policy-rc.d
forbid_service_starts() {
  [ -e "$policy" ] && return
  trap 'as_root rm -f "$policy"' EXIT
  trap 'exit 1' INT TERM HUP
  printf '#!/bin/sh\nexit 101\n' | ${sudo:+sudo -n} tee "$policy" >/dev/null && as_root chmod 755 "$policy"
}

disable_services() {
  local name
  for name in "$@"; do
    [ -e "/etc/init.d/$name" ] || [ -e "/lib/systemd/system/$name.service" ] || continue
    if command -v systemctl >/dev/null; then
      as_root systemctl disable "$name.service"
      if [ -d /run/systemd/system ]; then as_root systemctl stop "$name.service"; fi
    else
      as_root update-rc.d "$name" disable
    fi
  done 2>/dev/null
}

[ $# -gt 0 ] || set -- mke2fs e2fsck redis-server
packages=()
for name in "$@"; do
  has_command "$name" && continue
  package=$(package_of "$name")
  case " ${packages[*]-} " in *" $package "*) ;; *) packages+=("$package") ;; esac
done
[ "${#packages[@]}" -gt 0 ] || exit 0

is_debian_like || cannot_install "${packages[@]}"
sudo=''
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null && sudo -n true 2>/dev/null || cannot_install "${packages[@]}"
  sudo=yes
fi

echo "bhatti: installing ${packages[*]} (apt-get)..." >&2
forbid_service_starts
has_package_lists || apt_update || cannot_install "${packages[@]}"
# Some releases have only the one or the other.
if ! apt-cache show redis-server >/dev/null 2>&1 && apt-cache show valkey-server >/dev/null 2>&1; then
  packages=("${packages[@]/#redis-server/valkey-server}")
fi
# The lists may name versions that the mirror no longer has, which only shows when they are fetched.
apt_install "${packages[@]}" 2>/dev/null || { apt_update && apt_install "${packages[@]}"; } || cannot_install "${packages[@]}"
# A service that stays enabled is a nuisance, not a failure.
disable_services "${packages[@]}" || true
