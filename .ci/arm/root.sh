#!/bin/bash
# Unpacks Debian packages of another architecture, with all that they depend on, into a folder: enough to run their
# programs under qemu-user. The machine's own package lists and database stay as they are; nothing is configured.
# Usage: root.sh ARCHITECTURE SUITE FOLDER PACKAGE...
set -euo pipefail
arch=$1 suite=$2 root=$3
shift 3
state=$root.apt
rm -rf "$root" "$state"
mkdir -p "$state"/{lists/partial,cache/archives/partial,etc} "$root"/usr/{bin,sbin,lib}
for folder in bin sbin lib; do ln -s "usr/$folder" "$root/$folder"; done

# The mirror that this machine already uses.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | grep -v security | head -n 1)
if [ -z "$mirror" ]; then
  echo "root.sh: this machine has no package list of Debian; run apt-get update, on Debian" >&2
  exit 1
fi
keys=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keys] $mirror $suite main" >"$state/etc/sources.list"

# Drivers, fonts and maps, most of the download: as if installed. Nothing that is loaded without a screen needs them.
for name in libgl1-mesa-dri iso-codes proj-data mesa-va-drivers mesa-vdpau-drivers fontconfig-config; do
  printf 'Package: %s\nStatus: install ok installed\nArchitecture: %s\nVersion: 999\n\n' "$name" "$arch"
done >"$state/status"

options=(
  -o "Dir::State=$state" -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache"
  -o "Dir::Etc::sourcelist=$state/etc/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o Dir::Etc::preferencesparts=/dev/null -o "APT::Architecture=$arch" -o "APT::Architectures::=$arch"
  -o APT::Install-Recommends=0 -o APT::Sandbox::User= -o Debug::NoLocking=1 -o Acquire::Languages=none
)
apt-get "${options[@]}" -qq update
apt-get "${options[@]}" -qq -y --download-only install "$@" >"$state/log" 2>&1 || { cat "$state/log" >&2; exit 1; }
for package in "$state"/cache/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --keep-directory-symlink \
    --exclude=./usr/share/{doc,man,locale,icons,bash-completion}
done
rm -rf "$state"

# What update-alternatives would have linked.
for library in blas/libblas.so.3 lapack/liblapack.so.3; do
  for found in "$root"/usr/lib/*-linux-gnu*/"$library"; do
    if [ -e "$found" ]; then ln -sf "$library" "${found%/*/*}/${library##*/}"; fi
  done
done
